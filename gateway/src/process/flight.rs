//! Single flight: equal requests in the air at the same time are computed once.
//!
//! A **flight** is one computation with a growing text, and everybody who waits for it. The text is
//! kept whole rather than sent through a channel: a follower that joins late reads it from the
//! start, a slow reader finds several pieces merged into one instead of holding anybody back, and
//! the memory is that of one answer however many read it. Nothing here can block the computation.
//!
//! Whoever waits holds a [`Subscription`]; the computation holds the [`Lead`]. When the last
//! subscription is dropped the flight is *abandoned*: nobody can join it any more, and the lead
//! learns of it, stops, and frees its thread. When the lead is dropped without an outcome (its task
//! panicked or was aborted) every subscription fails with [`ProcessError::Lost`]; none waits for ever.
//!
//! Flights never cross domains because their keys are derived under the caller's domain. This
//! module knows neither models nor doors nor time.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::process::answer::{Answer, CacheUse};
use crate::process::error::ProcessError;

/// Names a flight: a digest under the caller's domain.
pub(crate) type FlightKey = [u8; 32];

/// How a flight ended.
pub(crate) type FlightOutcome = Result<Landing, ProcessError>;

/// What a finished flight hands to everybody who waited.
#[derive(Debug, Clone)]
pub(crate) struct Landing {
    /// The answer.
    pub(crate) answer: Arc<Answer>,
    /// What the cache contributed to computing it.
    pub(crate) cache: CacheUse,
    /// When its first token was there, counted from the arrival of whoever took off.
    pub(crate) first_token_us: u64,
}

/// What a subscription sees next.
#[derive(Debug, Clone)]
pub(crate) enum Progress {
    /// More text.
    Delta(String),
    /// The end; nothing follows.
    Done(Landing),
}

/// Every flight in the air. Cheap to clone; clones share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flights {
    table: Arc<Mutex<BTreeMap<FlightKey, Arc<Flight>>>>,
}

/// One computation and its readers.
#[derive(Debug)]
struct Flight {
    log: watch::Sender<Log>,
    abandoned: CancellationToken,
    /// Changed only under the table's lock, so that nobody joins a flight being abandoned.
    subscriptions: Mutex<usize>,
}

/// What the computation has produced so far. Bounded by the answer's length.
#[derive(Debug, Default)]
struct Log {
    text: String,
    outcome: Option<FlightOutcome>,
}

/// What joining a flight gave.
#[derive(Debug)]
pub(crate) enum Joined {
    /// The caller must compute.
    Lead(Lead, Subscription),
    /// Somebody computes already.
    Follow(Subscription),
}

impl Flights {
    /// Joins the flight of that key, or starts it.
    pub(crate) fn join(&self, key: FlightKey) -> Joined {
        let mut table = self.table.lock();
        if let Some(flight) = table.get(&key)
            && !flight.abandoned.is_cancelled()
        {
            *flight.subscriptions.lock() += 1;
            return Joined::Follow(self.subscription(Some(key), flight));
        }
        let flight = Flight::new();
        table.insert(key, Arc::clone(&flight));
        let subscription = self.subscription(Some(key), &flight);
        Joined::Lead(self.lead(Some(key), flight), subscription)
    }

    /// Starts a flight that nobody else can join.
    pub(crate) fn alone(&self) -> (Lead, Subscription) {
        let flight = Flight::new();
        let subscription = self.subscription(None, &flight);
        (self.lead(None, flight), subscription)
    }

    /// Flights that could be joined now.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.table.lock().len()
    }

    /// Subscriptions to flights that could be joined now.
    #[cfg(test)]
    pub(super) fn subscriptions(&self) -> usize {
        self.table
            .lock()
            .values()
            .map(|flight| *flight.subscriptions.lock())
            .sum()
    }

    fn subscription(&self, key: Option<FlightKey>, flight: &Arc<Flight>) -> Subscription {
        Subscription {
            log: flight.log.subscribe(),
            flight: Arc::clone(flight),
            flights: self.clone(),
            key,
            read_bytes: 0,
        }
    }

    fn lead(&self, key: Option<FlightKey>, flight: Arc<Flight>) -> Lead {
        Lead {
            flight,
            flights: self.clone(),
            key,
        }
    }

    /// Takes a flight out of the table, unless another took its place already.
    fn remove(table: &mut BTreeMap<FlightKey, Arc<Flight>>, key: FlightKey, flight: &Arc<Flight>) {
        if table
            .get(&key)
            .is_some_and(|current| Arc::ptr_eq(current, flight))
        {
            table.remove(&key);
        }
    }
}

impl Flight {
    /// A flight with one subscription.
    fn new() -> Arc<Self> {
        Arc::new(Self {
            log: watch::Sender::new(Log::default()),
            abandoned: CancellationToken::new(),
            subscriptions: Mutex::new(1),
        })
    }
}

/// The computing side of a flight.
#[derive(Debug)]
pub(crate) struct Lead {
    flight: Arc<Flight>,
    flights: Flights,
    key: Option<FlightKey>,
}

impl Lead {
    /// Adds to the text. Never blocks.
    pub(crate) fn push(&self, delta: &str) {
        if !delta.is_empty() {
            self.flight.log.send_modify(|log| log.text.push_str(delta));
        }
    }

    /// Ends the flight. Whoever asks from now on starts a new one. Only the first end counts.
    pub(crate) fn finish(&self, outcome: FlightOutcome) {
        self.settle(outcome);
    }

    /// Whether nobody waits any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.flight.abandoned.is_cancelled()
    }

    /// Resolves when nobody waits any more, and tells so from any thread.
    pub(crate) fn abandoned(&self) -> CancellationToken {
        self.flight.abandoned.clone()
    }

    fn settle(&self, outcome: FlightOutcome) {
        if let Some(key) = self.key {
            Flights::remove(&mut self.flights.table.lock(), key, &self.flight);
        }
        self.flight.log.send_if_modified(|log| {
            let first = log.outcome.is_none();
            if first {
                log.outcome = Some(outcome);
            }
            first
        });
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.settle(Err(ProcessError::Lost));
    }
}

/// The waiting side of a flight. Dropping it is going away.
#[derive(Debug)]
pub(crate) struct Subscription {
    flight: Arc<Flight>,
    log: watch::Receiver<Log>,
    flights: Flights,
    key: Option<FlightKey>,
    read_bytes: usize,
}

impl Subscription {
    /// The next piece of text, all that has accumulated since the last one, or the end.
    ///
    /// # Errors
    /// What the computation failed with, or [`ProcessError::Lost`] when it vanished.
    pub(crate) async fn next(&mut self) -> Result<Progress, ProcessError> {
        loop {
            if let Some(progress) = self.unread() {
                return progress;
            }
            // The sender lives in the flight we hold, so this cannot fail; failing closed anyway.
            if self.log.changed().await.is_err() {
                return Err(ProcessError::Lost);
            }
        }
    }

    /// What has not been read yet, text before the end.
    fn unread(&mut self) -> Option<Result<Progress, ProcessError>> {
        let log = self.log.borrow_and_update();
        if let Some(delta) = log
            .text
            .get(self.read_bytes..)
            .filter(|delta| !delta.is_empty())
        {
            let delta = delta.to_owned();
            self.read_bytes = log.text.len();
            return Some(Ok(Progress::Delta(delta)));
        }
        log.outcome
            .clone()
            .map(|outcome| outcome.map(Progress::Done))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut table = self.flights.table.lock();
        let mut subscriptions = self.flight.subscriptions.lock();
        *subscriptions = subscriptions.saturating_sub(1);
        if *subscriptions > 0 {
            return;
        }
        if let Some(key) = self.key {
            Flights::remove(&mut table, key, &self.flight);
        }
        // Cancelled under the table's lock: a join either counted itself before, or sees this.
        self.flight.abandoned.cancel();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::process::answer::Finish;

    const KEY: FlightKey = [7; 32];

    fn landing(text: &str) -> Landing {
        let answer = Answer {
            text: text.to_owned(),
            prompt_tokens: 3,
            completion_tokens: 2,
            finish: Finish::Length,
            reused_tokens: 0,
        };
        Landing {
            answer: Arc::new(answer),
            cache: CacheUse::None,
            first_token_us: 0,
        }
    }

    fn lead(flights: &Flights) -> (Lead, Subscription) {
        match flights.join(KEY) {
            Joined::Lead(lead, subscription) => (lead, subscription),
            Joined::Follow(_) => panic!("a flight was in the air already"),
        }
    }

    fn follow(flights: &Flights) -> Subscription {
        match flights.join(KEY) {
            Joined::Follow(subscription) => subscription,
            Joined::Lead(..) => panic!("no flight was in the air"),
        }
    }

    async fn read_all(subscription: &mut Subscription) -> Result<(String, Landing), ProcessError> {
        let mut text = String::new();
        loop {
            match subscription.next().await? {
                Progress::Delta(delta) => text.push_str(&delta),
                Progress::Done(landing) => return Ok((text, landing)),
            }
        }
    }

    #[tokio::test]
    async fn a_follower_that_joins_late_reads_everything() {
        let flights = Flights::default();
        let (lead, mut first) = lead(&flights);
        lead.push("ab");
        lead.push("");
        lead.push("cd");
        let mut second = follow(&flights);
        lead.push("ef");
        lead.finish(Ok(landing("abcdef")));
        for reader in [&mut first, &mut second] {
            let (text, landing) = read_all(reader).await.unwrap();
            assert_eq!(text, "abcdef");
            assert_eq!(landing.answer.text, "abcdef");
        }
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn the_flight_goes_on_while_any_follower_remains() {
        let flights = Flights::default();
        let (lead, first) = lead(&flights);
        let mut second = follow(&flights);
        drop(first);
        assert!(!lead.abandoned().is_cancelled());
        lead.push("still here");
        lead.finish(Ok(landing("still here")));
        assert_eq!(read_all(&mut second).await.unwrap().0, "still here");
    }

    #[tokio::test]
    async fn an_abandoned_flight_is_told_and_cannot_be_joined() {
        let flights = Flights::default();
        let (old_lead, first) = lead(&flights);
        let second = follow(&flights);
        drop(second);
        drop(first);
        old_lead.abandoned().cancelled().await;
        let (new_lead, mut reader) = lead(&flights);
        // The old computation ends late; it must not touch the flight that took its place.
        old_lead.finish(Ok(landing("old")));
        let _joins_the_new_one = follow(&flights);
        new_lead.finish(Ok(landing("new")));
        assert_eq!(read_all(&mut reader).await.unwrap().1.answer.text, "new");
    }

    #[tokio::test]
    async fn a_failed_lead_fails_its_followers_with_the_same_error() {
        let flights = Flights::default();
        let (lead, mut first) = lead(&flights);
        let mut second = follow(&flights);
        lead.finish(Err(ProcessError::PromptEmpty));
        for reader in [&mut first, &mut second] {
            assert_eq!(
                read_all(reader).await.unwrap_err(),
                ProcessError::PromptEmpty
            );
        }
    }

    #[tokio::test]
    async fn a_vanished_lead_never_leaves_anybody_waiting() {
        let flights = Flights::default();
        let (lead, mut first) = lead(&flights);
        let waiting = tokio::spawn(async move { read_all(&mut first).await.map(|_| ()) });
        tokio::task::yield_now().await;
        lead.push("a piece");
        drop(lead);
        assert_eq!(waiting.await.unwrap(), Err(ProcessError::Lost));
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn nobody_joins_a_flight_that_flies_alone() {
        let flights = Flights::default();
        let (alone, mut reader) = flights.alone();
        assert_eq!(flights.len(), 0);
        alone.finish(Ok(landing("mine")));
        assert_eq!(read_all(&mut reader).await.unwrap().1.answer.text, "mine");
    }

    /// What a test can do to the flights of one key.
    #[derive(Debug, Clone, Copy)]
    enum Act {
        Join,
        Leave(usize),
        Read(usize),
        Push(usize),
        Finish(usize),
        Vanish(usize),
    }

    fn any_act() -> impl Strategy<Value = Act> {
        prop_oneof![
            Just(Act::Join),
            (0_usize..4).prop_map(Act::Leave),
            (0_usize..4).prop_map(Act::Read),
            (0_usize..3).prop_map(Act::Push),
            (0_usize..3).prop_map(Act::Finish),
            (0_usize..3).prop_map(Act::Vanish),
        ]
    }

    /// The naive model of one flight.
    #[derive(Debug, Default)]
    struct Naive {
        text: String,
        readers: usize,
        ended: Option<Result<(), ProcessError>>,
        abandoned: bool,
    }

    impl Naive {
        fn can_be_joined(&self) -> bool {
            self.ended.is_none() && !self.abandoned
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]
        #[test]
        fn flights_behave_like_their_naive_model(
            acts in proptest::collection::vec(any_act(), 1..60),
        ) {
            let flights = Flights::default();
            let mut naive: Vec<Naive> = Vec::new();
            let mut leads: Vec<(usize, Lead)> = Vec::new();
            let mut readers: Vec<(usize, usize, Subscription)> = Vec::new();
            for act in acts {
                match act {
                    Act::Join => {
                        let open = naive.iter().rposition(Naive::can_be_joined);
                        match (flights.join(KEY), open) {
                            (Joined::Follow(reader), Some(flight)) => {
                                naive[flight].readers += 1;
                                readers.push((flight, 0, reader));
                            }
                            (Joined::Lead(lead, reader), None) => {
                                leads.push((naive.len(), lead));
                                readers.push((naive.len(), 0, reader));
                                naive.push(Naive { readers: 1, ..Naive::default() });
                            }
                            (joined, open) => prop_assert!(false, "{joined:?}, model: {open:?}"),
                        }
                    }
                    Act::Leave(index) if index < readers.len() => {
                        let (flight, _, reader) = readers.swap_remove(index);
                        drop(reader);
                        naive[flight].readers -= 1;
                        naive[flight].abandoned |= naive[flight].readers == 0;
                    }
                    Act::Read(index) if index < readers.len() => {
                        let (flight, read, reader) = &mut readers[index];
                        let model = &naive[*flight];
                        match reader.unread() {
                            Some(Ok(Progress::Delta(delta))) => {
                                prop_assert_eq!(&delta, &model.text[*read..]);
                                *read = model.text.len();
                            }
                            Some(end) => {
                                prop_assert_eq!(*read, model.text.len());
                                prop_assert_eq!(Some(end.map(|_| ())), model.ended.clone());
                            }
                            None => {
                                prop_assert_eq!(*read, model.text.len());
                                prop_assert!(model.ended.is_none());
                            }
                        }
                    }
                    Act::Push(index) if index < leads.len() => {
                        let (flight, lead) = &leads[index];
                        lead.push("piece ");
                        naive[*flight].text.push_str("piece ");
                    }
                    Act::Finish(index) if index < leads.len() => {
                        let (flight, lead) = leads.swap_remove(index);
                        lead.finish(Ok(landing("whole")));
                        naive[flight].ended = Some(Ok(()));
                    }
                    Act::Vanish(index) if index < leads.len() => {
                        let (flight, lead) = leads.swap_remove(index);
                        drop(lead);
                        naive[flight].ended = Some(Err(ProcessError::Lost));
                    }
                    _ => {}
                }
                for (flight, lead) in &leads {
                    prop_assert_eq!(lead.is_abandoned(), naive[*flight].abandoned);
                }
                let joinable = naive.iter().filter(|flight| flight.can_be_joined()).count();
                prop_assert_eq!(flights.len(), joinable);
                prop_assert!(joinable <= 1);
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_storm_of_joins_and_departures_computes_once_a_flight_and_loses_nobody() {
        let flights = Flights::default();
        let mut readers = tokio::task::JoinSet::new();
        for index in 0..400_u32 {
            let flights = flights.clone();
            readers.spawn(async move {
                let mut subscription = match flights.join(KEY) {
                    Joined::Follow(subscription) => subscription,
                    Joined::Lead(lead, subscription) => {
                        tokio::spawn(async move {
                            for piece in ["one ", "two ", "three"] {
                                lead.push(piece);
                                tokio::task::yield_now().await;
                            }
                            lead.finish(Ok(landing("one two three")));
                        });
                        subscription
                    }
                };
                if index % 3 == 0 {
                    return None;
                }
                Some(read_all(&mut subscription).await.unwrap().0)
            });
        }
        while let Some(read) = readers.join_next().await {
            assert!(read.unwrap().is_none_or(|text| text == "one two three"));
        }
        assert_eq!(flights.len(), 0);
    }
}
