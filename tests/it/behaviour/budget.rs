//! A budget for a batch: never passed, nearly all of it used, and raised when that is wanted.

mod kills;
mod refusals;

use std::time::Duration;

use tidings::{
    model::Price,
    proto::v1::{
        Batch, Budget, CacheMode, CancelTasksRequest, ChatCompletion, ChatMessage, GetBatchRequest,
        ListTasksRequest, ParkReason, ResumeBatchRequest, SubmitBatchRequest, TaskOptions,
        TaskSpec, TaskStatus, WaitReason, WatchTaskRequest, task_spec::Work,
        watch_task_response::Event,
    },
    simulator::{self, AnswerTokens, CallRecord, Fault, Faults, Latency},
};

use crate::support::server::{
    Client, Kind, TestServer, assert_lawful, on_each_store, soon, status, status_of, watch_batch,
};

on_each_store! {
    a_batch_spends_nearly_all_of_its_budget_and_never_more,
    an_answer_that_was_lost_counts_as_the_most_that_it_may_have_cost,
    equal_tasks_cost_their_batch_one_answer,
    tasks_that_wait_for_an_equal_one_leave_the_money_to_others,
    a_task_that_waited_for_an_equal_one_is_not_sent_on_money_that_is_gone,
    a_task_that_waits_for_money_says_so_and_goes_on_when_there_is_more,
}

/// 1 and 4 a million.
const PRICE: Price = Price {
    input: 1_000_000,
    cached_input: 1_000_000,
    output: 4_000_000,
    max_output_tokens: None,
};
const MODEL: &str = "priced";
const MAX_TOKENS: u32 = 200;
/// What about half of the tasks of a case cost, and eighty times what one may.
const BUDGET: u64 = 100_000_000;

async fn priced(kind: Kind, upstream: simulator::Config) -> TestServer {
    TestServer::start_with(kind, upstream, |config| {
        config.model = MODEL.into();
        config.concurrency = 32;
        config.prices = [(MODEL.to_owned(), PRICE)].into_iter().collect();
    })
    .await
}

/// An upstream whose answers are of many lengths.
fn talking(faults: Faults) -> simulator::Config {
    simulator::Config {
        latency: Latency::Fixed(Duration::from_millis(20)),
        answer_tokens: Some(AnswerTokens { min: 50, max: 200 }),
        faults,
        ..simulator::Config::default()
    }
}

fn chat(content: impl Into<String>) -> TaskSpec {
    let message = ChatMessage {
        role: "user".into(),
        content: content.into(),
        ..ChatMessage::default()
    };
    TaskSpec {
        work: Some(Work::ChatCompletion(ChatCompletion {
            messages: vec![message],
            max_tokens: Some(MAX_TOKENS),
            ..ChatCompletion::default()
        })),
        ..TaskSpec::default()
    }
}

fn request(tasks: Vec<TaskSpec>, budget: u64) -> SubmitBatchRequest {
    SubmitBatchRequest {
        tasks,
        budget_nanos: Some(budget),
        ..SubmitBatchRequest::default()
    }
}

async fn submit(client: &mut Client, count: usize, budget: u64) -> String {
    let tasks = (0..count).map(|number| chat(format!("number {number}")));
    let request = request(tasks.collect(), budget);
    let reply = client.submit_batch(request).await.unwrap();
    reply.into_inner().batch_id
}

async fn batch(client: &mut Client, id: &str) -> Batch {
    let batch_id = id.to_owned();
    let reply = client.get_batch(GetBatchRequest { batch_id }).await;
    reply.unwrap().into_inner().batch.unwrap()
}

async fn budget(client: &mut Client, id: &str) -> Budget {
    batch(client, id).await.progress.unwrap().budget.unwrap()
}

async fn until_parked(client: &mut Client, id: &str) {
    let is_over = async || {
        let batch = batch(&mut client.clone(), id).await;
        let reason = batch.parked.map(|parked| parked.reason());
        reason == Some(ParkReason::Budget) && batch.progress.unwrap().processing == 0
    };
    soon("the batch is parked for its budget", is_over).await;
}

async fn raise(client: &mut Client, id: &str, budget: u64) {
    let request = ResumeBatchRequest {
        batch_id: id.to_owned(),
        budget_nanos: Some(budget),
    };
    let reply = client.resume_batch(request).await.unwrap().into_inner();
    assert_eq!(reply.batch.unwrap().parked, None);
}

/// What the upstream wants for its calls.
fn billed(server: &TestServer) -> u64 {
    server.upstream.calls().iter().map(cost).sum()
}

fn cost(call: &CallRecord) -> u64 {
    let input = call.input_tokens.min(call.billed_tokens);
    input * 1_000 + (call.billed_tokens - input) * 4_000
}

/// The first half of a batch within its budget, the rest once it is raised.
async fn spends_its_budget(server: &mut TestServer) {
    let id = submit(&mut server.client, 300, BUDGET).await;
    until_parked(&mut server.client, &id).await;
    let money = budget(&mut server.client, &id).await;
    let spent = billed(server);
    assert_eq!((money.spent_nanos, money.reserved_nanos), (spent, 0));
    assert!(spent <= BUDGET, "{spent}");
    assert!(spent >= BUDGET / 100 * 95, "{spent}");
    let waiting = ListTasksRequest {
        batch_id: id.clone(),
        statuses: vec![TaskStatus::Queued as i32],
        page_size: 1_000,
        ..ListTasksRequest::default()
    };
    let waiting = server.client.list_tasks(waiting).await.unwrap();
    let waiting = waiting.into_inner().tasks;
    let reasons = waiting.iter().map(|task| task.wait_reason());
    assert!(waiting.len() > 50);
    assert!(reasons.into_iter().all(|it| it == WaitReason::Budget));

    raise(&mut server.client, &id, 3 * BUDGET).await;
    let told = watch_batch(&mut server.client, &id).await;
    assert_lawful(&told);
    let completed = |task: &&_| status_of(task) == TaskStatus::Completed;
    assert_eq!(told.iter().filter(completed).count(), 300);
    assert_eq!(server.upstream.calls().len(), 300);
    let spent = budget(&mut server.client, &id).await.spent_nanos;
    assert_eq!(spent, billed(server));
}

async fn a_batch_spends_nearly_all_of_its_budget_and_never_more(kind: Kind) {
    let mut server = priced(kind, talking(Faults::default())).await;
    spends_its_budget(&mut server).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_the_budget_of_a_batch() {
    let mut one = priced(Kind::Redis, talking(Faults::default())).await;
    let same = |config: &mut tidings::config::Config| {
        config.model = MODEL.into();
        config.concurrency = 32;
        config.prices = [(MODEL.to_owned(), PRICE)].into_iter().collect();
    };
    let (two, three) = (one.replica(same).await, one.replica(same).await);
    spends_its_budget(&mut one).await;
    two.stop().await;
    three.stop().await;
    one.stop().await;
}

async fn an_answer_that_was_lost_counts_as_the_most_that_it_may_have_cost(kind: Kind) {
    let faults = Faults {
        rates: vec![
            (Fault::Reset, 0.1),
            (Fault::Truncated, 0.1),
            (Fault::EmptyChoices, 0.1),
            (Fault::Status(500), 0.1),
        ],
        ..Faults::default()
    };
    let mut server = priced(kind, talking(faults)).await;
    let id = submit(&mut server.client, 300, BUDGET).await;
    until_parked(&mut server.client, &id).await;
    let progress = batch(&mut server.client, &id).await.progress.unwrap();
    let money = progress.budget.unwrap();
    let (billed, answered) = (billed(&server), progress.usage.unwrap().cost_nanos);
    let lost = |call: &CallRecord| call.fault.is_some() && call.billed_tokens > 0;
    let lost = server.upstream.calls().iter().filter(|it| lost(it)).count() as u64;
    assert!(lost > 10, "{lost}");
    assert_eq!(money.reserved_nanos, 0);
    assert!(billed <= money.spent_nanos, "{billed} {money:?}");
    assert!(money.spent_nanos <= BUDGET && money.spent_nanos >= BUDGET / 100 * 95);
    let most = (money.spent_nanos - answered) / lost;
    assert!(most >= u64::from(MAX_TOKENS) * 4_000, "{most}");
    server.stop().await;
}

async fn equal_tasks_cost_their_batch_one_answer(kind: Kind) {
    let mut server = priced(kind, talking(Faults::default())).await;
    let (id, _) = submit_equal(&mut server.client, 100, false).await;
    let told = watch_batch(&mut server.client, &id).await;
    assert_lawful(&told);
    let completed = |task: &&_| status_of(task) == TaskStatus::Completed;
    assert_eq!(told.iter().filter(completed).count(), 100);
    assert_eq!(server.upstream.calls().len(), 1);
    let money = budget(&mut server.client, &id).await;
    assert_eq!(
        (money.spent_nanos, money.reserved_nanos),
        (billed(&server), 0)
    );
    server.stop().await;
}

/// A batch of equal tasks, of which no more than two can be paid for at once.
async fn submit_equal(client: &mut Client, count: usize, keep_open: bool) -> (String, Vec<String>) {
    let tasks = (0..count).map(|_| chat("the same"));
    let request = SubmitBatchRequest {
        options: Some(TaskOptions {
            cache: CacheMode::Enabled as i32,
            ..TaskOptions::default()
        }),
        keep_open,
        ..request(tasks.collect(), 2_500_000)
    };
    let reply = client.submit_batch(request).await.unwrap().into_inner();
    (reply.batch_id, reply.task_ids)
}

async fn tasks_that_wait_for_an_equal_one_leave_the_money_to_others(kind: Kind) {
    let mut server = priced(kind, talking(Faults::in_order([Fault::Stall]))).await;
    let (id, tasks) = submit_equal(&mut server.client, 50, false).await;
    soon("all others wait for one call", async || {
        let progress = batch(&mut server.client.clone(), &id).await.progress;
        let progress = progress.unwrap();
        let reserved = progress.budget.unwrap().reserved_nanos;
        progress.processing == 50 && (1..1_250_000).contains(&reserved)
    })
    .await;
    // The call is that of one of the two that fitted at first.
    cancel(&mut server.client, &tasks[..2]).await;
    let told = watch_batch(&mut server.client, &id).await;
    assert_lawful(&told);
    let completed = |task: &&_| status_of(task) == TaskStatus::Completed;
    assert_eq!(told.iter().filter(completed).count(), 48);
    soon("both calls have ended", async || {
        server.upstream.calls().len() == 2
    })
    .await;
    let money = budget(&mut server.client, &id).await;
    assert_eq!(money.reserved_nanos, 0);
    let billed = billed(&server);
    assert!(billed <= money.spent_nanos && money.spent_nanos <= money.limit_nanos);
    server.stop().await;
}

async fn cancel(client: &mut Client, tasks: &[String]) {
    let request = CancelTasksRequest {
        task_ids: tasks.to_vec(),
        ..CancelTasksRequest::default()
    };
    client.cancel_tasks(request).await.unwrap();
}

async fn a_task_that_waited_for_an_equal_one_is_not_sent_on_money_that_is_gone(kind: Kind) {
    let mut server = priced(kind, talking(Faults::in_order([Fault::Stall]))).await;
    let (id, tasks) = submit_equal(&mut server.client, 3, true).await;
    soon("two wait for the call of one", async || {
        let progress = batch(&mut server.client.clone(), &id).await.progress;
        progress.unwrap().processing == 3 && server.upstream.open_calls() == 1
    })
    .await;
    let others = SubmitBatchRequest {
        tasks: (0..6)
            .map(|number| chat(format!("number {number}")))
            .collect(),
        batch_id: id.clone(),
        ..SubmitBatchRequest::default()
    };
    server.client.submit_batch(others).await.unwrap();
    // One of the others is answered on the money of those that wait; then too little is left for the next.
    soon("one is answered and three are in hand", async || {
        let progress = batch(&mut server.client.clone(), &id).await.progress;
        let progress = progress.unwrap();
        (progress.completed, progress.processing) == (1, 3)
    })
    .await;
    cancel(&mut server.client, &tasks[..2]).await;
    until_parked(&mut server.client, &id).await;
    soon("both calls have ended", async || {
        server.upstream.open_calls() == 0
    })
    .await;
    assert_eq!(server.upstream.calls().len(), 2);
    let third = status(&mut server.client, &tasks[2]).await;
    assert_eq!(status_of(&third), TaskStatus::Queued);
    assert!(third.attempts.iter().all(|attempt| attempt.error.is_none()));
    raise(&mut server.client, &id, 100_000_000).await;
    let told = watch_batch(&mut server.client, &id).await;
    assert_lawful(&told);
    assert_eq!(server.upstream.calls().len(), 8);
    server.stop().await;
}

async fn a_task_that_waits_for_money_says_so_and_goes_on_when_there_is_more(kind: Kind) {
    let mut server = priced(kind, talking(Faults::default())).await;
    // One of two fits.
    let tasks = vec![chat("first"), chat("second")];
    let reply = server.client.submit_batch(request(tasks, 1_300_000)).await;
    let reply = reply.unwrap().into_inner();
    let watch = WatchTaskRequest {
        task_id: reply.task_ids[1].clone(),
        ..WatchTaskRequest::default()
    };
    let stream = server.client.watch_task(watch).await;
    let mut stream = stream.unwrap().into_inner();
    loop {
        let message = stream.message().await.unwrap().expect("news");
        let reason = match message.event.unwrap() {
            Event::Task(task) => task.wait_reason(),
            Event::Notice(notice) => notice.wait_reason(),
            _ => continue,
        };
        if reason == WaitReason::Budget {
            break;
        }
    }
    until_parked(&mut server.client, &reply.batch_id).await;
    raise(&mut server.client, &reply.batch_id, 2_600_000).await;
    let mut last = TaskStatus::Queued;
    while let Some(message) = stream.message().await.unwrap() {
        if let Event::Task(task) = message.event.unwrap() {
            last = status_of(&task);
        }
    }
    assert_eq!(last, TaskStatus::Completed);
    server.stop().await;
}
