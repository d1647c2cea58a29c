//! Responsible for turning small numbers into events.

use super::super::*;
use super::{Player, Step, chain_to, header_of, parent_of, pick_of};

fn keys_of(numbers: &[usize]) -> Vec<BlockKey> {
    numbers.iter().map(|of| key(*of)).collect()
}

impl Player {
    /// The event of a step other than `Wait`.
    pub(super) fn event(&mut self, step: &Step) -> Event {
        let ticket = Ticket(self.ticket);
        match step.clone() {
            Step::Match { of, skip, term } => {
                let chain = chain_to(of).into_iter().skip(skip).map(key).collect();
                Event::Match {
                    ticket,
                    chain,
                    lease: term,
                }
            }
            Step::Get {
                keys,
                leading_only,
                term,
            } => Event::Get {
                ticket,
                keys: keys_of(&keys),
                leading_only,
                term,
            },
            Step::Reserve {
                of,
                arena,
                retain,
                term,
                is_malformed,
            } => {
                let mut header = header_of(of);
                header.payload_bytes *= u64::from(!is_malformed);
                let parent = parent_of(of).map(key);
                let arena = ArenaId(arena);
                let block = ReserveBlock {
                    key: key(of),
                    run: super::run_of(of),
                    parent,
                    depth: 0,
                    arena,
                    header,
                    retain,
                    term,
                };
                Event::Reserve {
                    ticket,
                    block: Box::new(block),
                }
            }
            Step::Touch(keys) => Event::Touch {
                keys: keys_of(&keys),
            },
            Step::Pin(keys, pin) => Event::Pin {
                ticket,
                keys: keys_of(&keys),
                pin,
            },
            Step::Remove(keys) => Event::Remove {
                ticket,
                keys: keys_of(&keys),
            },
            Step::Commit(_) | Step::Abort(_) | Step::Release(_) => self.ending(ticket, step),
            step => Self::other_event(ticket, step),
        }
    }

    /// The end of a reservation or a lease.
    fn ending(&mut self, ticket: Ticket, step: &Step) -> Event {
        match *step {
            Step::Commit(pick) => {
                self.name(pick);
                Event::Commit {
                    ticket,
                    reservation: self.named,
                }
            }
            Step::Abort(pick) => {
                self.name(pick);
                self.reservations.remove(&self.named);
                Event::Abort {
                    reservation: self.named,
                }
            }
            Step::Release(pick) => {
                let lease = pick_of(&self.leases, pick)
                    .copied()
                    .unwrap_or(LeaseId(99_999));
                self.leases.remove(&lease);
                Event::Release { lease }
            }
            _ => Event::Tick,
        }
    }

    fn other_event(ticket: Ticket, step: Step) -> Event {
        match step {
            Step::Purge(arena) => Event::Purge {
                ticket,
                arena: ArenaId(arena),
            },
            Step::Evict(bytes_goal, tokens_goal, batch_max) => Event::Evict {
                ticket,
                bytes_goal,
                tokens_goal,
                batch_max,
            },
            Step::Resize(pages, tokens_max, blocks_max) => {
                let bytes_max = pages * u64::from(PAGE_BYTES);
                let budget = Budget {
                    tokens_max,
                    blocks_max,
                    ..Budget::of_bytes(bytes_max)
                };
                Event::Resize { ticket, budget }
            }
            _ => Event::Tick,
        }
    }

    fn name(&mut self, pick: usize) {
        let reservation = pick_of(&self.reservations, pick).copied();
        self.named = reservation.unwrap_or(ReservationId(99_999));
    }
}
