// BullMQ: workers and client. What its settings are and why:
// - addBulk submits: batches of 250, 1,000 and 5,000 were tried, and did not differ by more than the noise.
// - concurrency: tasks that a worker process runs at a time; 100, 200 and 300 were tried for W1, and are alike.
// - Two worker processes for W1. For W3 one with 256 calls in flight: two with 128 used more CPU time for nothing.
// - removeOnComplete keeps the latest 1,000: the client learns results from QueueEvents, not from jobs.
// - The stream of events is kept long enough that a client that lags behind does not miss any.
// - undici makes the calls, with a connection for each call at a time.
"use strict";
const fs = require("node:fs");
const { performance } = require("node:perf_hooks");
const { Queue, QueueEvents, Worker } = require("bullmq");
const { Redis } = require("ioredis");
const { Pool } = require("undici");

const [role, workload, count, first] = process.argv.slice(2);
const settings = JSON.parse(process.env.SETTINGS ?? "{}");
const connection = { url: process.env.REDIS_URL, maxRetriesPerRequest: null };
const PAYLOAD = 200;
const PATIENCE_MS = 60_000;

const numberOf = (number) => String(number).padStart(8, "0");
const payload = (number) => numberOf(number).padEnd(PAYLOAD, "x");

function work() {
  const executed = [];
  const upstream = new URL(process.env.UPSTREAM_URL);
  const pool = new Pool(upstream.origin, { connections: settings.concurrency });
  const nothing = async (job) => {
    const result = job.data.slice(0, 8);
    executed.push(result);
    return result;
  };
  const call = async (job) => {
    const response = await pool.request({
      path: upstream.pathname,
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: "simulated", messages: [{ role: "user", content: job.data }] }),
    });
    await response.body.dump();
    if (response.statusCode !== 200) throw new Error(`the upstream answered ${response.statusCode}`);
    return nothing(job);
  };
  const worker = new Worker("bench", workload === "w3" ? call : nothing, {
    connection,
    concurrency: settings.concurrency,
    removeOnComplete: { count: settings.keep },
  });
  const leaveWord = () => fs.writeFileSync(`${process.env.EXECUTIONS}/${process.pid}`, executed.join("\n"));
  process.on("SIGTERM", async () => {
    leaveWord();
    await worker.close();
    leaveWord();
    process.exit(0);
  });
}

async function oneByOne(queue, events, numbers) {
  const latencies = [];
  let known = 0;
  for (const number of numbers) {
    const started = performance.now();
    const told = new Promise((done) => events.once("completed", ({ returnvalue }) => done(returnvalue)));
    await queue.add("task", payload(number));
    if ((await told) === numberOf(number)) known += 1;
    latencies.push(performance.now() - started);
  }
  return { latencies_ms: latencies, known };
}

async function inBulk(queue, events, numbers) {
  const waiting = new Set(numbers.map(numberOf));
  const started = performance.now();
  let latest = started;
  const finished = new Promise((done) => {
    const patience = setInterval(() => performance.now() - latest > PATIENCE_MS && done(), 1000);
    events.on("completed", ({ returnvalue }) => {
      waiting.delete(returnvalue);
      latest = performance.now();
      if (waiting.size > 0) return;
      clearInterval(patience);
      done();
    });
  });
  const submitting = [];
  for (let start = 0; start < numbers.length; start += settings.batch) {
    const batch = numbers.slice(start, start + settings.batch);
    submitting.push(queue.addBulk(batch.map((number) => ({ name: "task", data: payload(number) }))));
    if (submitting.length >= settings.batches) await submitting.shift();
  }
  await Promise.all(submitting);
  await finished;
  return { seconds: (latest - started) / 1000, known: numbers.length - waiting.size };
}

async function client() {
  // The events of a whole run have to stay until the client has read them.
  const queue = new Queue("bench", { connection, streams: { events: { maxLen: 1_000_000 } } });
  const redis = new Redis(process.env.REDIS_URL);
  const [latest] = await redis.xrevrange(queue.toKey("events"), "+", "-", "COUNT", 1);
  // Without a place to go on from, what happens before its first read would be missed.
  const events = new QueueEvents("bench", { connection, lastEventId: latest?.[0] ?? "0-0" });
  await Promise.all([queue.waitUntilReady(), events.waitUntilReady()]);
  const numbers = Array.from({ length: Number(count) }, (_, index) => Number(first) + index);
  const seen = await (workload === "w2" ? oneByOne : inBulk)(queue, events, numbers);
  console.log(JSON.stringify(seen));
  process.exit(0);
}

if (role === "version") console.log(`bullmq ${require("bullmq/package.json").version}`);
else if (role === "worker") work();
else client();
