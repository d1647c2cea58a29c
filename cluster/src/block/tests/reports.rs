//! What the directory is told is what the shards hold, whatever becomes of batches and actors.

use proptest::prelude::*;
use ultrakv_actors::BootId;
use ultrakv_actors::clock::Now;
use ultrakv_cache::{BlockKey, Codec};

use super::*;
use crate::block::feed::{Batch, PageAsk};
use crate::directory::{Form, Life};

const SHARDS: usize = 2;
const KEYS: usize = 24;
/// A block that comes last of all: with its report every earlier one that was swallowed shows.
const LAST: usize = KEYS - 1;

fn key(number: usize) -> BlockKey {
    let mut bytes = [0; 32];
    bytes[0] = u8::try_from(number).unwrap();
    bytes[31] = u8::try_from(number % 3).unwrap();
    BlockKey::from_bytes(bytes)
}

fn place(number: usize) -> Place {
    Place {
        slot: key(number).slot(),
        key: crate::directory::DirectoryKey::of(&key(number)),
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A shard gets or loses a block.
    Change {
        shard: usize,
        number: usize,
    },
    /// A shard begins another life.
    Restart(usize),
    /// A batch is cut and agreed on.
    Send,
    /// A batch is cut; it is applied or not, its sender does not know; what it says may come again later.
    SendInDoubt {
        applied: bool,
    },
    /// A batch is lost while its sender hears that it was applied.
    Swallow,
    /// The last batch in doubt arrives once more, late.
    Echo,
    /// The actor begins another life.
    Resume,
    /// Pages of inventories are told, or asked and never answered.
    Pages {
        answered: bool,
    },
    /// Pages are told, but the actor hears of it later.
    LatePages,
    /// It hears of it.
    Heard,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => (0..SHARDS, 0..LAST).prop_map(|(shard, number)| Step::Change { shard, number }),
        1 => (0..SHARDS).prop_map(Step::Restart),
        6 => Just(Step::Send),
        2 => any::<bool>().prop_map(|applied| Step::SendInDoubt { applied }),
        1 => Just(Step::Swallow),
        1 => Just(Step::Echo),
        1 => Just(Step::Resume),
        3 => any::<bool>().prop_map(|answered| Step::Pages { answered }),
        2 => Just(Step::LatePages),
        2 => Just(Step::Heard),
        2 => (0..1_500_u64).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..160)
}

/// Equal keys have equal values, so the number decides how a block is encoded.
fn codec(number: usize) -> Codec {
    Codec::ALL[number % Codec::ALL.len()]
}

/// One node's shards as sets, its reports, and a directory.
struct Player {
    reports: BlockReports,
    directory: Arc<Directory>,
    held: [BTreeSet<usize>; SHARDS],
    lives: [u128; SHARDS],
    now: Now,
    turn: usize,
    doubted: Option<Vec<u8>>,
    unheard: Vec<(PageAsk, BootId, Option<u32>)>,
}

impl Player {
    fn new(waiting_max: usize) -> Self {
        let player = Self {
            reports: BlockReports::new(SHARDS, Tier::Host, waiting_max),
            directory: Directory::new(PLENTY),
            held: Default::default(),
            lives: [1, 1_001],
            now: Now(0),
            turn: 0,
            doubted: None,
            unheard: Vec::new(),
        };
        (0..SHARDS).for_each(|shard| player.reports.began(shard, player.life(shard)));
        player
    }

    fn life(&self, shard: usize) -> BootId {
        BootId::from_u128(self.lives[shard])
    }

    fn cut(&mut self) -> Option<Batch> {
        self.turn += 1;
        self.reports.cut(node(A), self.turn, self.now)
    }

    fn send(&mut self) -> bool {
        let Some(batch) = self.cut() else {
            return false;
        };
        let applied = self.directory.apply(&decode(&batch.bytes).unwrap());
        self.reports.settle(&batch.lives, Some(&applied), self.now);
        true
    }

    fn play(&mut self, step: &Step) {
        match *step {
            Step::Change { shard, number } => {
                if self.held[shard].remove(&number) {
                    self.reports
                        .vanished(shard, &key(number), key(number).slot());
                } else {
                    self.held[shard].insert(number);
                    self.reports
                        .appeared(shard, &key(number), &key(number), codec(number));
                }
            }
            Step::Restart(shard) => {
                self.held[shard].clear();
                self.lives[shard] += 1;
                self.reports.began(shard, self.life(shard));
            }
            Step::Send => {
                self.send();
            }
            Step::SendInDoubt { applied } => {
                if let Some(batch) = self.cut() {
                    if applied {
                        self.directory.apply(&decode(&batch.bytes).unwrap());
                    }
                    self.reports.settle(&batch.lives, None, self.now);
                    self.doubted = Some(batch.bytes);
                }
            }
            Step::Swallow => {
                if let Some(batch) = self.cut() {
                    let outcomes = batch
                        .lives
                        .iter()
                        .map(|boot| (*boot, ReportOutcome::Applied));
                    let applied = Applied {
                        outcomes: outcomes.collect(),
                        ..Applied::default()
                    };
                    self.reports.settle(&batch.lives, Some(&applied), self.now);
                }
            }
            Step::Echo => {
                // A life whose end the log knows is not opened again by what was under way: the log refuses it before the
                // directory sees it, so here only present lives echo.
                let present = |section: &Section| match section {
                    Section::Open(life) => self.reports.is_present(life.boot),
                    _ => true,
                };
                if let Some(bytes) = self.doubted.take() {
                    let sections = decode(&bytes).unwrap();
                    if sections.iter().all(present) {
                        self.directory.apply(&sections);
                    }
                }
            }
            Step::Resume => self.reports.resume(self.now),
            Step::Pages { answered } => self.pages(answered),
            Step::LatePages => {
                for ask in self.reports.pages() {
                    let told = (ask, self.life(ask.shard), self.tell(ask));
                    self.unheard.push(told);
                }
            }
            Step::Heard => {
                for (ask, life, next) in self.unheard.drain(..) {
                    self.reports.paged(ask, Some((life, next)));
                }
            }
            Step::Wait(ms) => self.now = self.now.add_ms(ms),
        }
    }

    fn pages(&self, answered: bool) {
        for ask in self.reports.pages() {
            let told = answered.then(|| (self.life(ask.shard), self.tell(ask)));
            self.reports.paged(ask, told);
        }
    }

    /// A shard's turn: it tells a page, and where to go on.
    fn tell(&self, ask: PageAsk) -> Option<u32> {
        let count = usize::try_from(ask.blocks_max).unwrap().min(5);
        let from = usize::try_from(ask.from).unwrap();
        let end = KEYS.min(from + count);
        for number in self.held[ask.shard].range(from..end) {
            let slot = key(*number).slot();
            self.reports
                .listed(ask.shard, &key(*number), slot, codec(*number));
        }
        (end < KEYS).then(|| u32::try_from(end).unwrap())
    }

    /// As below, with a report of each shard after everything else.
    fn come_to_an_end(&mut self) {
        self.come_to_rest();
        for shard in 0..SHARDS {
            self.play(&Step::Change {
                shard,
                number: LAST,
            });
        }
        self.come_to_rest();
    }

    /// Lets everything that is under way come to its end.
    fn come_to_rest(&mut self) {
        self.play(&Step::Heard);
        self.reports.resume(self.now);
        for _ in 0..400 {
            self.now = self.now.add_ms(300);
            while self.send() {}
            self.pages(true);
        }
        assert_eq!(self.reports.has_more(), (false, false));
    }

    /// Shard and number of what the directory lists of living lives.
    fn listed(&self) -> BTreeSet<(usize, usize)> {
        let of = |number: usize| {
            let holders = self.directory.holders(place(number)).into_iter();
            holders.map(move |holder| {
                let form = Form::new(Tier::Host, codec(number).code());
                assert_eq!(Some(holder.form), form, "listed in another form");
                (usize::from(holder.life.shard), number)
            })
        };
        (0..KEYS).flat_map(of).collect()
    }

    fn truth(&self) -> BTreeSet<(usize, usize)> {
        let shards = self.held.iter().enumerate();
        shards
            .flat_map(|(shard, held)| held.iter().map(move |number| (shard, *number)))
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_directory_comes_to_list_what_the_shards_hold(steps in steps()) {
        let mut player = Player::new(1_000);
        steps.iter().for_each(|step| player.play(step));
        player.come_to_an_end();
        prop_assert_eq!(player.listed(), player.truth());
    }

    #[test]
    fn under_overload_the_directory_may_lack_a_block_but_lists_none_that_is_gone(steps in steps(), waiting_max in 1..6_usize) {
        let mut player = Player::new(waiting_max);
        steps.iter().for_each(|step| player.play(step));
        player.come_to_an_end();
        prop_assert!(player.listed().is_subset(&player.truth()));
        prop_assert!(player.reports.waiting() <= SHARDS * waiting_max);
    }
}

#[test]
fn a_batch_of_unknown_fate_is_sent_again_as_it_was_also_by_the_actors_next_life() {
    let mut player = Player::new(1_000);
    player.play(&Step::Restart(0));
    player.play(&Step::Change {
        shard: 0,
        number: 1,
    });
    let batch = player.cut().unwrap();
    // What comes meanwhile waits for it.
    player.play(&Step::Change {
        shard: 0,
        number: 2,
    });
    assert!(player.cut().is_none());
    player.reports.settle(&batch.lives, None, player.now);
    assert!(player.cut().is_none(), "at once again");
    let sections = |batch: &Batch| {
        let mut sections = decode(&batch.bytes).unwrap();
        sections.sort_by_key(|section| format!("{section:?}"));
        sections
    };
    player.now = player.now.add_ms(1_000);
    let again = player.cut().unwrap();
    assert_eq!(sections(&again), sections(&batch));
    assert!(player.cut().is_none());
    player.reports.resume(player.now);
    let again = player.cut().unwrap();
    assert_eq!(sections(&again), sections(&batch));
    let applied = player.directory.apply(&decode(&again.bytes).unwrap());
    let now = player.now;
    player.reports.settle(&again.lives, Some(&applied), now);
    player.come_to_rest();
    assert_eq!(player.listed(), player.truth());
}

#[test]
fn a_life_that_the_directory_forgot_is_opened_again_and_lists_everything() {
    let mut player = Player::new(1_000);
    for number in 0..10 {
        player.play(&Step::Change { shard: 0, number });
    }
    player.come_to_rest();
    assert_eq!(player.listed().len(), 10);
    player.directory.apply(&[Section::Close(node(A))]);
    assert!(player.listed().is_empty());
    player.play(&Step::Change {
        shard: 0,
        number: 11,
    });
    player.come_to_rest();
    assert_eq!(player.listed(), player.truth());
    let life = Life {
        node: node(A),
        shard: 0,
        boot: player.life(0),
    };
    assert_eq!(
        player.directory.life(life.boot).map(|(life, _)| life),
        Some(life)
    );
}

#[tokio::test]
async fn a_report_that_is_lost_in_the_log_ends_in_an_inventory_that_is_right() {
    let rig = Rig::start(options()).await;
    let chains: Vec<_> = (0..40).map(|seed| chain(seed, 30)).collect();
    rig.put_chain(A, &chains[0]).await;
    rig.until_right().await;
    rig.log.swallow.store(3, Ordering::SeqCst);
    for chain in &chains[1..5] {
        rig.put_chain(A, chain).await;
    }
    rig.until("swallowed", || rig.log.swallow.load(Ordering::SeqCst) == 0)
        .await;
    let (router, domain) = (&rig.members[A].router, rig.domain(A, 1));
    let removed = router.remove(&domain, &chains[0], rig.deadline(A)).await;
    assert_eq!(removed, Ok(30));
    // A swallowed report shows with the next one of its shard, so each gets some.
    for chain in &chains[5..] {
        rig.put_chain(A, chain).await;
    }
    rig.until_right().await;
}

#[tokio::test]
async fn reports_go_on_after_the_actor_died_and_the_shards_began_again() {
    let rig = Rig::start(options()).await;
    for round in 0..4 {
        rig.put_chain(A, &chain(round, 30)).await;
        rig.kill(B, "node/cluster/directory").await;
        rig.kill_shard(usize::try_from(round).unwrap() % 3, 1).await;
    }
    rig.until_right().await;
}

#[tokio::test]
async fn shards_never_wait_for_a_log_that_stands_still() {
    let rig = Rig::start(BlockOptions {
        report_waiting_max: 16,
        ..options()
    })
    .await;
    rig.members[A].pen.held.send_replace(true);
    let chains: Vec<_> = (0..10)
        .map(|seed| chain_at(&rig, A, seed * 1_000, 16))
        .collect();
    for chain in &chains {
        rig.put_chain(A, chain).await;
    }
    assert!(rig.members[A].parts.reports.waiting() <= 32);
    assert!(rig.members[A].directory.stats().records == 0);
    let (router, domain) = (&rig.members[A].router, rig.domain(A, 1));
    let removed = router.remove(&domain, &chains[0], rig.deadline(A)).await;
    assert_eq!(removed, Ok(16));
    rig.members[A].pen.held.send_replace(false);
    rig.until("told", || rig.members[A].parts.reports.waiting() == 0)
        .await;
    assert!(
        chains[0]
            .iter()
            .all(|address| rig.holders(address).is_empty())
    );
}
