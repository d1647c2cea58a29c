//! `ultrakv-load`: a closed loop of identical or distinct requests against a running node, with exact
//! percentiles. It measures from outside, over HTTP, as a client would; it knows nothing of the node.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measuring program reads the wall's clock and prints its figures"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use hdrhistogram::Histogram;

/// Latencies are kept in microseconds, up to this many.
const LATENCY_US_MAX: u64 = 120_000_000;

/// Sends requests in a closed loop and prints one JSON object with the percentiles.
#[derive(Parser)]
struct Arguments {
    /// The route, for example `http://127.0.0.1:7800/api/v1/kv-cache/process`.
    url: String,
    /// A file of JSON bodies, one a line; request N sends line N modulo their number.
    #[arg(long)]
    bodies: std::path::PathBuf,
    /// Requests in all.
    #[arg(long, default_value_t = 1000)]
    requests: u64,
    /// Requests in flight at once.
    #[arg(long, default_value_t = 8)]
    clients: usize,
    /// What `metadata.cache` of every answer must say: `response`, `prefix` or `none`.
    #[arg(long)]
    expect: Option<String>,
    /// Sends `Cache-Control: no-cache`, so that the response cache does not answer.
    #[arg(long)]
    no_cache: bool,
}

/// One client's loop: takes the next number until none is left.
async fn client(
    arguments: Arc<Arguments>,
    bodies: Arc<Vec<String>>,
    next: Arc<AtomicU64>,
) -> Result<Histogram<u64>> {
    let http = reqwest::Client::builder()
        .timeout(Duration::from_secs(120))
        .build()?;
    let mut latencies = Histogram::<u64>::new_with_max(LATENCY_US_MAX, 3)?;
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= arguments.requests {
            return Ok(latencies);
        }
        let line = usize::try_from(number)? % bodies.len();
        let body = bodies.get(line).context("no body")?.clone();
        let mut request = http
            .post(&arguments.url)
            .header("content-type", "application/json");
        if arguments.no_cache {
            request = request.header("cache-control", "no-cache");
        }
        let began = Instant::now();
        let answer = request.body(body).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        latencies.saturating_record(u64::try_from(began.elapsed().as_micros())?);
        if !status.is_success() {
            bail!("request {number} was answered {status}: {text}");
        }
        if let Some(expected) = &arguments.expect {
            let said: serde_json::Value = serde_json::from_str(&text)?;
            let cache = said
                .pointer("/metadata/cache")
                .and_then(serde_json::Value::as_str);
            if cache != Some(expected) {
                bail!("request {number}: cache {cache:?} where {expected} was expected: {text}");
            }
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arc::new(Arguments::parse());
    let text = tokio::task::block_in_place(|| std::fs::read_to_string(&arguments.bodies))
        .context("reading the bodies")?;
    let bodies: Arc<Vec<String>> = Arc::new(text.lines().map(str::to_owned).collect());
    if bodies.is_empty() {
        bail!("{} holds no body", arguments.bodies.display());
    }
    let next = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let clients: Vec<_> = (0..arguments.clients)
        .map(|_| {
            tokio::spawn(client(
                Arc::clone(&arguments),
                Arc::clone(&bodies),
                Arc::clone(&next),
            ))
        })
        .collect();
    let mut latencies = Histogram::<u64>::new_with_max(LATENCY_US_MAX, 3)?;
    for client in clients {
        latencies.add(client.await??)?;
    }
    let seconds = began.elapsed().as_secs_f64();
    let ms = |quantile: f64| Duration::from_micros(latencies.value_at_quantile(quantile));
    println!(
        "{}",
        serde_json::json!({
            "requests": latencies.len(),
            "clients": arguments.clients,
            "seconds": seconds,
            "requests_per_second": f64::from(u32::try_from(latencies.len())?) / seconds,
            "p50_ms": ms(0.50).as_secs_f64() * 1e3,
            "p95_ms": ms(0.95).as_secs_f64() * 1e3,
            "p99_ms": ms(0.99).as_secs_f64() * 1e3,
            "max_ms": ms(1.0).as_secs_f64() * 1e3,
        })
    );
    Ok(())
}
