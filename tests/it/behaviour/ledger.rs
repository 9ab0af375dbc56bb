//! What answers cost: told on each task, summed over its batch.

use tidings::{
    model::Price,
    proto::v1::{
        CacheMode, GetBatchRequest, SubmitBatchRequest, Task, TaskOptions, TaskStatus, Usage,
    },
    simulator::{self, Fault, Faults},
};

use super::options::with;
use crate::support::server::{
    Client, Kind, TestServer, assert_lawful, on_each_store, prompt, status_of, submit, watch_batch,
};

on_each_store! {
    every_answer_tells_its_cost_and_the_batch_their_sum,
    what_comes_from_the_cache_costs_nothing,
    a_model_without_a_price_costs_nothing_that_is_known,
    what_models_cost_is_counted_by_their_names_and_by_a_label,
}

/// 2.50 and 10 a million.
const PRICE: Price = Price {
    input: 2_500_000,
    cached_input: 1_250_000,
    output: 10_000_000,
    max_output_tokens: None,
};

async fn priced(kind: Kind, upstream: simulator::Config, model: &str) -> TestServer {
    let prices = [(model.to_owned(), PRICE)];
    TestServer::start_with(kind, upstream, |config| {
        config.model = "asked".into();
        config.prices = prices.into_iter().collect();
    })
    .await
}

async fn ended(client: &mut Client, batch: &str) -> Vec<Task> {
    let told = watch_batch(client, batch).await;
    assert_lawful(&told);
    let is_done = |task: &Task| status_of(task) == TaskStatus::Completed;
    told.into_iter().filter(is_done).collect()
}

fn usage(task: &Task) -> Usage {
    task.result.as_ref().unwrap().usage.unwrap()
}

async fn sum(client: &mut Client, batch: &str) -> u64 {
    let request = GetBatchRequest {
        batch_id: batch.to_owned(),
    };
    let reply = client.get_batch(request).await.unwrap().into_inner();
    let progress = reply.batch.unwrap().progress.unwrap();
    progress.usage.unwrap().cost_nanos
}

async fn every_answer_tells_its_cost_and_the_batch_their_sum(kind: Kind) {
    let upstream = simulator::Config {
        // A failed call is followed by one that is answered; only the answer has a usage.
        faults: Faults::in_order([Fault::Status(500)]),
        ..simulator::Config::default()
    };
    let mut server = priced(kind, upstream, "asked").await;
    let texts = (0..30).map(|number| prompt("p".repeat(number * 40 + 1)));
    let batch = submit(&mut server.client, texts).await.batch_id;
    let tasks = ended(&mut server.client, &batch).await;
    assert_eq!(tasks.len(), 30);
    for task in &tasks {
        let usage = usage(task);
        let cost = usage.input_tokens * 2_500 + usage.output_tokens * 10_000;
        assert!(cost > 0);
        assert_eq!(usage.cost_nanos, cost);
    }
    let answered = server
        .upstream
        .calls()
        .into_iter()
        .filter(|call| call.status == Some(200));
    let billed: u64 = answered
        .map(|call| call.input_tokens * 2_500 + call.output_tokens * 10_000)
        .sum();
    assert_eq!(sum(&mut server.client, &batch).await, billed);
    server.stop().await;
}

async fn what_comes_from_the_cache_costs_nothing(kind: Kind) {
    let mut server = priced(kind, simulator::Config::default(), "asked").await;
    let request = SubmitBatchRequest {
        tasks: (0..20).map(|_| prompt("p")).collect(),
        options: Some(TaskOptions {
            cache: CacheMode::Enabled as i32,
            ..TaskOptions::default()
        }),
        ..SubmitBatchRequest::default()
    };
    let batch = server.client.submit_batch(request).await.unwrap();
    let batch = batch.into_inner().batch_id;
    let tasks = ended(&mut server.client, &batch).await;
    let costs: Vec<u64> = tasks.iter().map(|task| usage(task).cost_nanos).collect();
    assert_eq!(costs.iter().filter(|cost| **cost > 0).count(), 1);
    let call = &server.upstream.calls()[0];
    let billed = call.input_tokens * 2_500 + call.output_tokens * 10_000;
    assert_eq!(sum(&mut server.client, &batch).await, billed);
    server.stop().await;
}

async fn a_model_without_a_price_costs_nothing_that_is_known(kind: Kind) {
    let mut server = priced(kind, simulator::Config::default(), "another").await;
    let batch = submit(&mut server.client, [prompt("p")]).await.batch_id;
    let tasks = ended(&mut server.client, &batch).await;
    assert!(usage(&tasks[0]).output_tokens > 0);
    assert_eq!(usage(&tasks[0]).cost_nanos, 0);
    assert_eq!(sum(&mut server.client, &batch).await, 0);
    server.stop().await;
}

async fn what_models_cost_is_counted_by_their_names_and_by_a_label(kind: Kind) {
    // Metrics are of the whole process: a name that no other test has.
    let model = format!("counted-{kind:?}");
    let prices = [(model.clone(), PRICE)];
    let mut server = TestServer::start_with(kind, simulator::Config::default(), |config| {
        config.model = model.clone();
        config.prices = prices.into_iter().collect();
        config.cost_label = Some("team".to_owned());
    })
    .await;
    let labelled = |text| {
        with(prompt(text), |options| {
            options.labels.insert("team".to_owned(), model.clone());
        })
    };
    let batch = submit(&mut server.client, [labelled("p"), labelled("q")]).await;
    ended(&mut server.client, &batch.batch_id).await;
    let metrics = reqwest::get(format!("{}/metrics", server.admin)).await;
    let metrics = metrics.unwrap().text().await.unwrap();
    let spent = sum(&mut server.client, &batch.batch_id).await;
    assert!(spent > 0);
    for line in [
        format!("tidings_cost_nanos_total{{model=\"{model}\"}} "),
        format!("tidings_label_cost_nanos_total{{value=\"{model}\"}} "),
    ] {
        let value = metrics.lines().find_map(|it| it.strip_prefix(&line));
        assert_eq!(value.expect(&line).parse(), Ok(spent));
    }
    server.stop().await;
}
