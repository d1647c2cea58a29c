//! Responsible for what holds of any run, whatever happens to it: it ends once, it goes on equally after its journey, progress never
//! falls, and nothing is left at work.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::run;
use crate::workflow::{Effect, Event, Run, Status, StepSource, StepType};

/// A definition whose steps only lead to later ones, so that it has no cycle; steps that nothing leads to are put behind the first.
fn definitions() -> impl Strategy<Value = Value> {
    let kinds = prop::sample::select(StepType::ALL.to_vec());
    let step = (kinds, any::<[u8; 3]>(), 0_u32..3, prop::bool::ANY);
    prop::collection::vec(step, 1..10).prop_map(|steps| {
        let count = steps.len();
        let later = |at: usize, dice: u8| (at + 1 < count).then(|| format!("s{}", at + 1 + usize::from(dice) % (count - at - 1)));
        let mut built: Vec<Map<String, Value>> = Vec::new();
        for (at, (kind, [first, second, third], retries, guarded)) in steps.into_iter().enumerate() {
            let (within, next) = (later(at, first), later(at, second));
            // The last step has nowhere to lead: it is work.
            let kind = if within.is_some() { kind } else { StepType::Task };
            let mut step = json!({"name": format!("s{at}"), "step_type": kind.name(), "max_retries": retries, "timeout": 10});
            let fields = step.as_object_mut().expect("it is an object");
            if third % 3 > 0 {
                fields.insert("next_steps".to_owned(), json!(next.into_iter().collect::<Vec<_>>()));
            }
            let within: Vec<String> = within.into_iter().chain(later(at, third)).collect();
            match kind {
                StepType::Condition => {
                    fields.insert("conditions".to_owned(), json!([{"expression": "steps.s0.output.v|default(1) > 1", "next_step": within[0]}]));
                }
                StepType::Parallel | StepType::Sequence => drop(fields.insert("parallel_steps".to_owned(), json!(within))),
                StepType::Loop => {
                    fields.insert("parallel_steps".to_owned(), json!(within));
                    fields.insert("parameters".to_owned(), json!({"max_iterations": 2}));
                }
                _ if guarded => drop(fields.insert("conditions".to_owned(), json!(["loop.index != 1"]))),
                _ => {}
            }
            built.push(step.as_object().expect("it is an object").clone());
        }
        // Whatever is not led to follows the first.
        let led: BTreeSet<String> = built
            .iter()
            .flat_map(|step| {
                let definition: StepSource = serde_json::from_value(json!(step)).expect("it has the shape");
                definition.targets().map(str::to_owned).collect::<Vec<_>>()
            })
            .collect();
        let lost: Vec<String> = (1..count).map(|at| format!("s{at}")).filter(|name| !led.contains(name)).collect();
        let first = built.first_mut().expect("one step at least");
        let next = first.entry("next_steps").or_insert(json!([]));
        next.as_array_mut().expect("it is a list").extend(lost.into_iter().map(Value::from));
        json!({"name": "w", "steps": built})
    })
}

/// One move of whoever drives the run: which attempt at work, and what happens to it or to the run.
fn moves() -> impl Strategy<Value = Vec<(u8, u8)>> {
    prop::collection::vec((any::<u8>(), 0_u8..40), 0..60)
}

fn event(run: &Run, which: u8, what: u8) -> Event {
    let at_work = run.at_work();
    let ticket = at_work
        .get(usize::from(which) % at_work.len().max(1))
        .map_or(999_999, |(ticket, _)| *ticket);
    match what {
        0..=2 => Event::Failed {
            ticket,
            reason: "dice".to_owned(),
            may_retry: what > 0,
        },
        3 => Event::Pause,
        4..=5 => Event::Resume,
        6 => Event::Adopt,
        7 => Event::Begin,
        8..=9 => Event::Tick,
        10 if which < 40 => Event::Cancel,
        11 => Event::Finished {
            ticket: u64::from(which),
            output: json!(null),
        },
        _ => Event::Finished {
            ticket,
            output: json!({ "v": which }),
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn any_interleaving_ends_goes_on_equally_and_loses_no_progress(definition in definitions(), moves in moves()) {
        let mut one = run(definition);
        let mut now_ms = 0;
        let mut progress = 0.0;
        let mut open: BTreeSet<u64> = BTreeSet::new();
        let mut ended = 0;
        let random = moves.len();
        // Dice first; then a driver that ends everything, which must come to an end.
        let mut effects = one.handle(Event::Begin, now_ms);
        for step in 0..random + 30_000 {
            for effect in effects {
                match effect {
                    Effect::Start(start) => prop_assert!(open.insert(start.ticket), "a ticket begins once"),
                    Effect::Stop { ticket } => prop_assert!(open.remove(&ticket), "only what began is stopped"),
                    Effect::Ended { status } => {
                        ended += 1;
                        prop_assert_eq!(status, one.status());
                    }
                }
            }
            prop_assert!(one.progress() >= progress && one.progress() <= 1.0);
            progress = one.progress();
            prop_assert_eq!(one.status() == Status::Completed, (progress - 1.0).abs() < 1e-12);
            let at_work: BTreeSet<u64> = one.at_work().iter().map(|(ticket, _)| *ticket).collect();
            prop_assert!(at_work.is_subset(&open));
            if one.status().has_ended() {
                break;
            }
            let event = match moves.get(step) {
                Some((which, what)) => event(&one, *which, *what),
                None if one.status() == Status::Paused => Event::Resume,
                None => match at_work.first() {
                    Some(ticket) => Event::Finished { ticket: *ticket, output: json!({ "v": step % 3 }) },
                    None => {
                        now_ms = now_ms.max(one.next_wake_ms().expect("a run that goes on waits for something"));
                        Event::Tick
                    }
                },
            };
            now_ms += 500;
            if let Event::Finished { ticket, .. } | Event::Failed { ticket, .. } = &event {
                open.remove(ticket);
            }
            // Written down and read again, it goes on equally. Every time while the dice roll; later now and then.
            if step < random || step % 64 == 0 {
                let written = serde_json::to_vec(&one).expect("plain data");
                let mut other: Run = serde_json::from_slice(&written).expect("it was just written");
                prop_assert_eq!(&other, &one);
                prop_assert_eq!(other.handle(event.clone(), now_ms), one.clone().handle(event.clone(), now_ms));
            }
            if event == Event::Adopt {
                // Its attempts are lost with whoever drove it.
                open.clear();
            }
            effects = one.handle(event, now_ms);
        }
        prop_assert!(one.status().has_ended(), "{:?}", one.status());
        prop_assert_eq!(ended, 1);
        prop_assert!(open.is_empty(), "{:?} are left at work", open);
        prop_assert!(one.to_come().is_empty());
    }
}
