//! A model of four-token blocks that stops wherever a test wants, and a store that fails on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::{Condvar, Mutex};
use ultrakv_actors::Domain;
use ultrakv_cache::{
    ArenaId, BlockAddress, BlockKey, BlockKind, BlockLayout, Dtype, EffectiveDomain,
};

use super::*;
use crate::backend::{Generation, Prefill, SealedBlock, Step};
use crate::process::store::{CachedBlock, InDoubt, NewBlock, NewEntry};

pub(super) const BLOCK_TOKENS: u32 = 4;
const WIDTH: usize = 4;
const BLOCK_BYTES: usize = 64;

/// Where a test holds a generation.
#[derive(Debug, Default)]
pub(super) struct Turnstile {
    closed: Mutex<bool>,
    opened: Condvar,
    /// Chunks and tokens computed by all generations.
    pub(super) passed: AtomicUsize,
    /// Generations held now.
    pub(super) held: AtomicUsize,
}

impl Turnstile {
    pub(super) fn close(&self) {
        *self.closed.lock() = true;
    }

    pub(super) fn open(&self) {
        *self.closed.lock() = false;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let mut closed = self.closed.lock();
        self.held.fetch_add(1, Ordering::SeqCst);
        while *closed {
            self.opened.wait(&mut closed);
        }
        self.held.fetch_sub(1, Ordering::SeqCst);
        self.passed.fetch_add(1, Ordering::SeqCst);
    }
}

/// What goes wrong in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    Fail,
    Panic,
}

#[derive(Debug)]
pub(super) struct FakeModel {
    card: ModelCard,
    inputs: KeyInputs,
    pub(super) turnstile: Arc<Turnstile>,
    pub(super) fault: Mutex<Fault>,
    /// Generations begun.
    pub(super) begun: AtomicUsize,
}

impl FakeModel {
    pub(super) fn new() -> Self {
        let layout = BlockLayout {
            kind: BlockKind::Kv,
            dtype: Dtype::F32,
            layers: 1,
            kv_heads: 1,
            head_size: 2,
        };
        Self {
            card: ModelCard {
                name: "fake".to_owned(),
                context_tokens: 64,
                gpu: false,
            },
            inputs: KeyInputs {
                weights: [1; 32],
                adapter: [0; 32],
                rope: [2; 32],
                layout,
                block_tokens: BLOCK_TOKENS,
            },
            turnstile: Arc::default(),
            fault: Mutex::new(Fault::None),
            begun: AtomicUsize::new(0),
        }
    }
}

impl Backend for FakeModel {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn key_inputs(&self) -> &KeyInputs {
        &self.inputs
    }

    fn render_chat(&self, messages: &[ChatMessage]) -> Result<String, ProcessError> {
        Ok(messages
            .iter()
            .map(|message| message.content.as_str())
            .collect())
    }

    fn encode(&self, prompt: &Prompt) -> Result<Vec<u32>, ProcessError> {
        Ok(match prompt {
            Prompt::Text(text) | Prompt::Rendered(text) => text.bytes().map(u32::from).collect(),
            Prompt::Tokens(tokens) => tokens.clone(),
        })
    }

    fn begin(
        &self,
        tokens: &[u32],
        sampling: &Sampling,
    ) -> Result<Box<dyn Generation>, ProcessError> {
        if tokens.len() >= self.card.context_tokens {
            let context_tokens = self.card.context_tokens;
            return Err(ProcessError::PromptTooLong {
                tokens: tokens.len(),
                context_tokens,
            });
        }
        self.begun.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(FakeGeneration {
            turnstile: Arc::clone(&self.turnstile),
            fault: *self.fault.lock(),
            prompt: tokens.len(),
            filled: 0,
            sealed: 0,
            left: sampling.tokens_max.unwrap_or(8),
            tokens: tokens.to_vec(),
        }))
    }
}

struct FakeGeneration {
    turnstile: Arc<Turnstile>,
    fault: Fault,
    prompt: usize,
    filled: usize,
    sealed: usize,
    left: u32,
    tokens: Vec<u32>,
}

/// The "K/V" of a block is what it was computed from, so that a wrong block cannot pass for a right one.
fn payload(tokens: &[u32], index: usize) -> Vec<u8> {
    let digest = |part: u8| {
        let mut hash = blake3::Hasher::new();
        hash.update(&[part]);
        for token in &tokens[..(index + 1) * WIDTH] {
            hash.update(&token.to_le_bytes());
        }
        *hash.finalize().as_bytes()
    };
    [digest(0), digest(1)].concat()
}

impl Generation for FakeGeneration {
    fn restore(&mut self, payloads: &[Bytes]) -> Result<usize, ProcessError> {
        for (index, given) in payloads.iter().enumerate() {
            assert_eq!(
                given[..],
                payload(&self.tokens, index),
                "block {index} is another's"
            );
        }
        self.filled = payloads.len() * WIDTH;
        self.sealed = payloads.len();
        assert!(self.filled < self.prompt);
        Ok(self.filled)
    }

    fn prefill(&mut self) -> Result<Prefill, ProcessError> {
        self.turnstile.pass();
        match self.fault {
            Fault::None => {}
            Fault::Fail => {
                return Err(ProcessError::Model {
                    reason: "told to".to_owned(),
                });
            }
            Fault::Panic => panic!("told to panic"),
        }
        self.filled = (self.filled + WIDTH).min(self.prompt);
        Ok(if self.filled < self.prompt {
            Prefill::More
        } else {
            Prefill::Done
        })
    }

    fn step(&mut self) -> Result<Step, ProcessError> {
        self.turnstile.pass();
        let sum: u32 = self.tokens.iter().sum();
        let letter = b'a' + u8::try_from(sum % 26).unwrap();
        self.tokens.push(u32::from(letter));
        self.filled = self.tokens.len() - 1;
        self.left -= 1;
        let finish = (self.left == 0).then_some(Finish::Length);
        Ok(Step {
            text: char::from(letter).to_string(),
            finish,
        })
    }

    fn take_sealed(&mut self) -> Vec<SealedBlock> {
        let whole = self.filled / WIDTH;
        let first = self.sealed;
        self.sealed = whole.max(first);
        (first..whole)
            .map(|index| SealedBlock {
                index,
                payload: payload(&self.tokens, index),
            })
            .collect()
    }

    fn tokens(&self) -> &[u32] {
        &self.tokens
    }
}

type Table<K, V> = Arc<Mutex<BTreeMap<(EffectiveDomain, K), V>>>;

/// A store of services `a`, `b`, and `left` and `right` that share.
#[derive(Debug, Default)]
pub(super) struct FakeStore {
    pub(super) blocks: Table<BlockKey, CachedBlock>,
    pub(super) entries: Table<Vec<u8>, Bytes>,
    pub(super) in_doubt: AtomicBool,
    pub(super) full: AtomicBool,
    pub(super) puts_offered: Arc<AtomicUsize>,
}

impl FakeStore {
    fn doubt(&self) -> Result<(), InDoubt> {
        if self.in_doubt.load(Ordering::SeqCst) {
            Err(InDoubt("told_to"))
        } else {
            Ok(())
        }
    }

    /// Makes every stored block claim another layout, as an older node's might.
    pub(super) fn spoil(&self) {
        for block in self.blocks.lock().values_mut() {
            block.header.layout.dtype = Dtype::F16;
        }
    }

    pub(super) fn domains(&self) -> usize {
        let blocks = self.blocks.lock();
        blocks
            .keys()
            .map(|(domain, _)| *domain)
            .collect::<BTreeSet<_>>()
            .len()
    }
}

impl Store for FakeStore {
    fn domain(&self, service: &str, salt: Option<&str>) -> Result<Domain, ProcessError> {
        let group = match service {
            "a" | "b" => service,
            "left" | "right" => "pair",
            other => {
                return Err(ProcessError::UnknownService {
                    service: other.to_owned(),
                });
            }
        };
        let name = format!("{group}/{}", salt.unwrap_or_default());
        let effective = EffectiveDomain::from_bytes(*blake3::hash(name.as_bytes()).as_bytes());
        let tag = ultrakv_cluster::DomainTag::default();
        Ok(Domain::new(effective, ArenaId(0), tag))
    }

    fn prefix(
        &self,
        domain: Domain,
        chain: Vec<BlockAddress>,
        _deadline: Deadline,
    ) -> BoxFuture<'static, Result<Vec<CachedBlock>, InDoubt>> {
        let blocks = self.blocks.lock();
        let found = chain
            .iter()
            .map_while(|at| blocks.get(&(domain.effective, at.key)).cloned());
        let found = self.doubt().map(|()| found.collect());
        async move { found }.boxed()
    }

    fn put(
        &self,
        domain: Domain,
        block: NewBlock,
        _deadline: Deadline,
    ) -> BoxFuture<'static, Result<bool, InDoubt>> {
        self.puts_offered.fetch_add(1, Ordering::SeqCst);
        assert_eq!(block.payload.len(), BLOCK_BYTES);
        if let Err(doubt) = self.doubt() {
            return async move { Err(doubt) }.boxed();
        }
        if self.full.load(Ordering::SeqCst) {
            return async { Ok(false) }.boxed();
        }
        let cached = CachedBlock {
            header: block.header,
            payload: block.payload,
        };
        self.blocks
            .lock()
            .insert((domain.effective, block.address.key), cached);
        async { Ok(true) }.boxed()
    }

    fn entry(
        &self,
        domain: Domain,
        key: Vec<u8>,
        _deadline: Deadline,
    ) -> BoxFuture<'static, Result<Option<Bytes>, InDoubt>> {
        let found = self.entries.lock().get(&(domain.effective, key)).cloned();
        let found = self.doubt().map(|()| found);
        async move { found }.boxed()
    }

    fn put_entry(
        &self,
        domain: Domain,
        entry: NewEntry,
        _deadline: Deadline,
    ) -> BoxFuture<'static, Result<(), InDoubt>> {
        let stored = self.doubt();
        if stored.is_ok() {
            self.entries
                .lock()
                .insert((domain.effective, entry.key), entry.value);
        }
        async move { stored }.boxed()
    }
}
