//! The whole path over a model that can be held and a store that can fail: what is reused, shared,
//! stopped, refused and counted.

mod fake;

use std::sync::atomic::Ordering;
use std::time::Duration;

use ractor::{Actor, ActorRef};
use tokio::task::JoinHandle;

use self::fake::{BLOCK_TOKENS, FakeModel, FakeStore, Fault};
use super::*;
use crate::gateway_actor::{GatewayActor, GatewayMessage};

const WITHIN: Duration = Duration::from_secs(10);
const TEXT: &str = "twenty-one characters";
const PROMPT_BLOCKS: u32 = 5;

struct Rig {
    processor: Processor,
    model: Arc<FakeModel>,
    store: Arc<FakeStore>,
    admission: Admission,
    clock: Clock,
    actor: ActorRef<GatewayMessage>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.model.turnstile.open();
        self.actor.stop(None);
    }
}

async fn rig() -> Rig {
    rig_of(2, 8).await
}

async fn rig_of(slots: usize, queue: usize) -> Rig {
    let (model, store) = (Arc::new(FakeModel::new()), Arc::new(FakeStore::default()));
    let (admission, clock) = (Admission::new(slots, queue), Clock::machine());
    let limits = ProcessLimits {
        cache: true,
        response_cache: true,
        response_ttl: Duration::from_secs(60),
        max_length_default: 100,
        max_length_max: 10_000,
        text_chars_max: 100_000,
    };
    let processor = Processor::over(
        Arc::<FakeStore>::clone(&store),
        Arc::<FakeModel>::clone(&model),
        (admission.clone(), Services::default()),
        (limits, clock.clone()),
    );
    let (actor, _task) = GatewayActor::spawn(None, GatewayActor, admission.clone())
        .await
        .unwrap();
    Rig {
        processor,
        model,
        store,
        admission,
        clock,
        actor,
    }
}

fn request(text: &str) -> ProcessRequest {
    ProcessRequest {
        door: Door::Process,
        prompt: Prompt::Text(text.to_owned()),
        sampling: Sampling {
            tokens_max: Some(6),
            temperature: 0.0,
            top_p: 1.0,
            seed: None,
            stop: Vec::new(),
        },
        session_id: None,
        priority: Priority::Normal,
        cache_salt: None,
        cache: CacheControl::Normal,
    }
}

fn caller(service: &str) -> Caller {
    Caller {
        service: service.to_owned(),
    }
}

fn fresh(text: &str) -> ProcessRequest {
    ProcessRequest {
        cache: CacheControl::NoCache,
        ..request(text)
    }
}

impl Rig {
    async fn run(
        &self,
        service: &str,
        request: ProcessRequest,
    ) -> Result<ProcessOutcome, ProcessError> {
        let deadline = self.clock.deadline(WITHIN);
        self.processor
            .run(&caller(service), request, deadline)
            .await
    }

    async fn answer(&self, service: &str, request: ProcessRequest) -> ProcessOutcome {
        self.run(service, request).await.expect("an answer")
    }

    fn spawn(&self, request: ProcessRequest) -> JoinHandle<Result<ProcessOutcome, ProcessError>> {
        let (processor, deadline) = (self.processor.clone(), self.clock.deadline(WITHIN));
        tokio::spawn(async move { processor.run(&caller("a"), request, deadline).await })
    }

    fn begun(&self) -> usize {
        self.model.begun.load(Ordering::SeqCst)
    }

    async fn held(&self, generations: usize) {
        eventually(|| self.model.turnstile.held.load(Ordering::SeqCst) == generations).await;
    }
}

async fn eventually(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WITHIN, wait)
        .await
        .expect("it holds in the end");
}

#[tokio::test]
async fn a_second_request_reuses_what_the_first_computed_and_answers_the_same() {
    let rig = rig().await;
    let cold = rig.answer("a", fresh(TEXT)).await;
    assert_eq!(
        (cold.cache, cold.reused_tokens, cold.computed_tokens),
        (CacheUse::None, 0, 21)
    );
    let warm = rig.answer("a", fresh(TEXT)).await;
    let reused = PROMPT_BLOCKS * BLOCK_TOKENS;
    assert_eq!(
        (warm.cache, warm.reused_tokens, warm.computed_tokens),
        (CacheUse::Prefix, reused, 1)
    );
    assert_eq!(cold.answer.text, warm.answer.text);
    assert_eq!(cold.answer.text.len(), 6);

    let longer = format!("{TEXT}{}!", cold.answer.text);
    let continued = rig.answer("a", fresh(&longer)).await;
    assert!(
        continued.reused_tokens > reused,
        "blocks that decoding filled are reused too"
    );
    let whole_blocks = rig.answer("a", fresh("exactly-sixteen!")).await;
    assert_eq!(whole_blocks.cache, CacheUse::None);
    let again = rig.answer("a", fresh("exactly-sixteen!")).await;
    assert_eq!(again.reused_tokens, 12, "the last token is always computed");
}

#[tokio::test]
async fn a_stored_answer_is_found_whole_and_computes_nothing() {
    let rig = rig().await;
    let cold = rig.answer("a", request(TEXT)).await;
    let hit = rig.answer("a", request(TEXT)).await;
    assert_eq!((hit.cache, hit.coalesced), (CacheUse::Response, false));
    assert_eq!((hit.reused_tokens, hit.computed_tokens), (21, 0));
    assert_eq!(hit.answer, cold.answer);
    assert_eq!(rig.begun(), 1);
    let session = ProcessRequest {
        session_id: Some("s".to_owned()),
        ..request(TEXT)
    };
    assert_eq!(rig.answer("a", session).await.cache, CacheUse::Prefix);
}

#[tokio::test]
async fn no_store_leaves_nothing_behind_and_no_cache_computes_afresh() {
    let rig = rig().await;
    let secret = ProcessRequest {
        cache: CacheControl::NoStore,
        ..request(TEXT)
    };
    let first = rig.answer("a", secret.clone()).await;
    assert_eq!(first.cache, CacheUse::None);
    assert_eq!(
        (
            rig.store.blocks.lock().len(),
            rig.store.entries.lock().len()
        ),
        (0, 0)
    );
    let stored = rig.answer("a", request(TEXT)).await;
    assert_eq!(stored.cache, CacheUse::None);
    let not_read = rig.answer("a", secret).await;
    assert_eq!(
        not_read.cache,
        CacheUse::Prefix,
        "no stored response, but others' blocks"
    );
    rig.store.entries.lock().clear();
    assert_eq!(rig.answer("a", fresh(TEXT)).await.cache, CacheUse::Prefix);
    assert_eq!(
        rig.answer("a", request(TEXT)).await.cache,
        CacheUse::Response,
        "it was written"
    );
}

#[tokio::test]
async fn what_is_not_reproducible_is_shared_by_process_only() {
    let rig = rig().await;
    let hot = |door, seed| {
        let mut request = ProcessRequest {
            door,
            ..request(TEXT)
        };
        request.sampling.temperature = 1.0;
        request.sampling.seed = seed;
        request
    };
    for (door, seed, cache) in [
        (Door::Process, None, CacheUse::Response),
        (Door::Chat, None, CacheUse::Prefix),
        (Door::Completion, None, CacheUse::Prefix),
        (Door::Chat, Some(7), CacheUse::Response),
    ] {
        rig.answer("a", hot(door, seed)).await;
        assert_eq!(
            rig.answer("a", hot(door, seed)).await.cache,
            cache,
            "{door:?} {seed:?}"
        );
    }
}

#[tokio::test]
async fn services_and_salts_share_nothing_and_groups_share_everything() {
    let rig = rig().await;
    let salted = |salt: &str| ProcessRequest {
        cache_salt: Some(salt.to_owned()),
        ..request(TEXT)
    };
    rig.answer("a", request(TEXT)).await;
    assert_eq!(rig.answer("b", request(TEXT)).await.cache, CacheUse::None);
    assert_eq!(rig.answer("a", salted("x")).await.cache, CacheUse::None);
    assert_eq!(rig.answer("a", salted("y")).await.cache, CacheUse::None);
    assert_eq!(
        rig.answer("left", request(TEXT)).await.cache,
        CacheUse::None
    );
    assert_eq!(
        rig.answer("right", request(TEXT)).await.cache,
        CacheUse::Response
    );
    assert_eq!(
        rig.answer("right", fresh(TEXT)).await.cache,
        CacheUse::Prefix
    );
    assert_eq!(rig.store.domains(), 5);
    let nobody = rig.run("nobody", request(TEXT)).await.unwrap_err();
    assert_eq!(
        nobody,
        ProcessError::UnknownService {
            service: "nobody".to_owned()
        }
    );
}

#[tokio::test]
async fn equal_requests_at_the_same_time_are_computed_once_also_when_streamed() {
    let rig = rig_of(4, 8).await;
    rig.model.turnstile.close();
    let first = rig.spawn(request(TEXT));
    rig.held(1).await;
    let followers: Vec<_> = (0..5).map(|_| rig.spawn(request(TEXT))).collect();
    let deadline = rig.clock.deadline(WITHIN);
    let mut stream = rig
        .processor
        .open(&caller("a"), request(TEXT), deadline)
        .await
        .unwrap();
    eventually(|| rig.processor.inner.flights.subscriptions() == 7).await;
    rig.model.turnstile.open();
    let first = first.await.unwrap().unwrap();
    assert!(!first.coalesced);
    for follower in followers {
        let follower = follower.await.unwrap().unwrap();
        assert_eq!(follower.answer, first.answer);
        assert_eq!(
            (follower.cache, follower.computed_tokens),
            (CacheUse::Response, 0)
        );
    }
    let mut text = String::new();
    let done = loop {
        match stream.next().await.unwrap() {
            ProcessEvent::Delta(delta) => text.push_str(&delta),
            ProcessEvent::Done(outcome) => break outcome,
        }
    };
    assert_eq!((text, done.coalesced), (first.answer.text.clone(), true));
    assert_eq!(rig.begun(), 1);
    assert_eq!(rig.processor.stats().coalesced_requests, 6);
}

#[tokio::test]
async fn services_do_not_follow_each_others_flights() {
    let rig = rig_of(4, 8).await;
    rig.model.turnstile.close();
    let first = rig.spawn(request(TEXT));
    rig.held(1).await;
    let (processor, deadline) = (rig.processor.clone(), rig.clock.deadline(WITHIN));
    let other = tokio::spawn(async move {
        processor
            .run(&caller("b"), request(TEXT), deadline)
            .await
            .unwrap()
    });
    rig.held(2).await;
    rig.model.turnstile.open();
    first.await.unwrap().unwrap();
    assert!(!other.await.unwrap().coalesced);
}

#[tokio::test]
async fn a_generation_goes_on_while_anybody_waits_and_stops_when_nobody_does() {
    let rig = rig().await;
    rig.model.turnstile.close();
    let leader = rig.spawn(request(TEXT));
    rig.held(1).await;
    let follower = rig.spawn(request(TEXT));
    tokio::task::yield_now().await;
    eventually(|| rig.processor.inner.flights.subscriptions() == 2).await;
    leader.abort();
    eventually(|| rig.processor.inner.flights.subscriptions() == 1).await;
    rig.model.turnstile.open();
    assert!(follower.await.unwrap().unwrap().coalesced);
    assert_eq!(rig.processor.stats().generations_cancelled, 0);

    rig.model.turnstile.close();
    let passed = rig.model.turnstile.passed.load(Ordering::SeqCst);
    let alone = rig.spawn(request("another prompt of some length"));
    rig.held(1).await;
    alone.abort();
    eventually(|| rig.processor.stats().abandoned == 2).await;
    rig.model.turnstile.open();
    eventually(|| rig.processor.stats().generations_cancelled == 1).await;
    assert_eq!(
        rig.model.turnstile.passed.load(Ordering::SeqCst),
        passed + 1,
        "it stopped after the chunk it was in"
    );
    eventually(|| rig.admission.running() == 0).await;
}

#[tokio::test]
async fn a_deadline_fails_the_request_and_stops_its_generation() {
    let rig = rig().await;
    rig.model.turnstile.close();
    let deadline = rig.clock.deadline(Duration::from_millis(50));
    let error = rig
        .processor
        .run(&caller("a"), request(TEXT), deadline)
        .await
        .unwrap_err();
    assert_eq!(error, ProcessError::Deadline);
    rig.model.turnstile.open();
    eventually(|| rig.processor.stats().generations_cancelled == 1).await;
    assert_eq!(rig.processor.stats().deadline_exceeded, 1);
}

#[tokio::test]
async fn more_than_slots_and_queue_hold_is_refused_at_once() {
    let rig = rig_of(1, 1).await;
    rig.model.turnstile.close();
    let running = rig.spawn(request("the first of three"));
    rig.held(1).await;
    let queued = rig.spawn(request("the second of three"));
    eventually(|| rig.admission.queued() == 1).await;
    let refused = rig
        .run("a", request("the third of three"))
        .await
        .unwrap_err();
    assert_eq!(
        refused,
        ProcessError::Busy {
            running: 1,
            queued: 1
        }
    );
    // Neither hits nor followers need a slot.
    let follower = rig.spawn(request("the second of three"));
    rig.model.turnstile.open();
    for request in [running, queued, follower] {
        request.await.unwrap().unwrap();
    }
    assert_eq!(rig.processor.stats().busy, 1);
}

#[tokio::test]
async fn a_cache_in_doubt_costs_a_computation_and_nothing_else() {
    let rig = rig().await;
    let sure = rig.answer("a", request(TEXT)).await;
    rig.store.in_doubt.store(true, Ordering::SeqCst);
    let doubtful = rig.answer("a", request(TEXT)).await;
    assert_eq!(doubtful.cache, CacheUse::None);
    assert_eq!(doubtful.answer, sure.answer);
    assert_eq!(rig.processor.stats().lookups_in_doubt, 3);
}

#[tokio::test]
async fn a_full_cache_is_not_offered_blocks_that_nobody_could_reach() {
    let rig = rig().await;
    rig.store.full.store(true, Ordering::SeqCst);
    rig.answer("a", request(TEXT)).await;
    let stats = rig.processor.stats();
    assert_eq!((stats.blocks_stored, stats.blocks_refused), (0, 1));
    assert_eq!(rig.store.puts_offered.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn blocks_of_another_form_are_misses() {
    let rig = rig().await;
    let cold = rig.answer("a", fresh(TEXT)).await;
    rig.store.spoil();
    let recomputed = rig.answer("a", fresh(TEXT)).await;
    assert_eq!(
        (recomputed.cache, &recomputed.answer),
        (CacheUse::None, &cold.answer)
    );
}

#[tokio::test]
async fn a_failing_model_fails_all_who_wait_alike_and_the_next_request_is_served() {
    let rig = rig().await;
    let expected = [
        (
            Fault::Fail,
            ProcessError::Model {
                reason: "told to".to_owned(),
            },
        ),
        (Fault::Panic, ProcessError::Lost),
    ];
    for (fault, error) in expected {
        *rig.model.fault.lock() = fault;
        rig.model.turnstile.close();
        let leader = rig.spawn(request(TEXT));
        rig.held(1).await;
        let follower = rig.spawn(request(TEXT));
        eventually(|| rig.processor.inner.flights.subscriptions() == 2).await;
        rig.model.turnstile.open();
        assert_eq!(leader.await.unwrap().unwrap_err(), error);
        assert_eq!(follower.await.unwrap().unwrap_err(), error);
    }
    *rig.model.fault.lock() = Fault::None;
    rig.answer("a", request(TEXT)).await;
    let long = rig.run("a", request(&"x".repeat(64))).await.unwrap_err();
    assert_eq!(
        long,
        ProcessError::PromptTooLong {
            tokens: 64,
            context_tokens: 64
        }
    );
    eventually(|| rig.admission.running() == 0).await;
}

#[tokio::test]
async fn a_gateway_actor_killed_under_load_fails_the_waiting_clearly_and_harms_no_other() {
    let rig = rig_of(1, 8).await;
    rig.model.turnstile.close();
    let running = rig.spawn(request("the running request"));
    rig.held(1).await;
    let waiting = rig.spawn(request("the waiting request"));
    eventually(|| rig.admission.queued() == 1).await;
    rig.actor.kill();
    assert_eq!(waiting.await.unwrap().unwrap_err(), ProcessError::Stopped);
    let (next_life, _task) = GatewayActor::spawn(None, GatewayActor, rig.admission.clone())
        .await
        .unwrap();
    let next = rig.spawn(request("the next request"));
    rig.model.turnstile.open();
    running.await.unwrap().unwrap();
    next.await.unwrap().unwrap();
    next_life.stop(None);
}

#[tokio::test]
async fn figures_tell_what_happened() {
    let rig = rig().await;
    rig.answer("a", request(TEXT)).await;
    rig.answer("a", fresh(TEXT)).await;
    rig.answer("a", request(TEXT)).await;
    let stats = rig.processor.stats();
    assert_eq!(
        (
            stats.total_requests,
            stats.cached_requests,
            stats.prefix_hits
        ),
        (3, 1, 1)
    );
    assert_eq!(
        (stats.tokens_reused, stats.tokens_computed),
        (20 + 21, 21 + 1)
    );
    assert_eq!(
        (stats.first_token_cold.count, stats.first_token_warm.count),
        (1, 1)
    );
    assert_eq!((stats.latency.count, stats.errors), (3, 0));
    assert!((stats.hit_rate - 2.0 / 3.0).abs() < 1e-9);
}
