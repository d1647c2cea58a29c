//! Responsible for what holds of workflows as a whole: what is refused, what comes in which order, and that every run ends, goes on
//! equally after its journey, and never loses progress, whatever happens to it.

mod properties;

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::*;

fn workflow(definition: Value) -> Workflow {
    let definition: Definition = serde_json::from_value(definition).expect("it has the shape");
    Workflow::new(definition).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn run(definition: Value) -> Run {
    Run::new(workflow(definition), Map::new()).expect("no inputs")
}

/// Begins a run and ends each step as it begins, in order, each with what `output` says of it. Returns the steps as they began.
fn drive(run: &mut Run, output: impl Fn(&Start, u64) -> Result<Value, String>) -> Vec<String> {
    let mut began = Vec::new();
    let mut now_ms = 0;
    let mut effects = run.handle(Event::Begin, now_ms);
    for _ in 0..20_000 {
        let Some(start) = effects
            .iter()
            .position(|effect| matches!(effect, Effect::Start(_)))
        else {
            let Some(wake_ms) = run.next_wake_ms().filter(|_| !run.status().has_ended()) else {
                break;
            };
            now_ms = now_ms.max(wake_ms);
            effects.extend(run.handle(Event::Tick, now_ms));
            continue;
        };
        let Effect::Start(start) = effects.remove(start) else {
            unreachable!("its position was found")
        };
        began.push(start.step.clone());
        now_ms += 1;
        let event = match output(&start, now_ms) {
            Ok(output) => Event::Finished {
                ticket: start.ticket,
                output,
            },
            Err(reason) => Event::Failed {
                ticket: start.ticket,
                reason,
                may_retry: true,
            },
        };
        effects.extend(run.handle(event, now_ms));
    }
    assert!(run.status().has_ended(), "{run:?}");
    began
}

fn order(definition: Value) -> (Vec<String>, Run) {
    let mut run = run(definition);
    let began = drive(&mut run, |start, _| Ok(json!({ "step": start.step })));
    (began, run)
}

fn problems(definition: Value) -> BTreeSet<&'static str> {
    let definition: Definition = serde_json::from_value(definition).expect("it has the shape");
    let found = Workflow::new(definition)
        .err()
        .map(|problems| problems.0)
        .unwrap_or_default();
    found
        .iter()
        .map(|problem| {
            assert!(!problem.kind.hint().is_empty() && !problem.detail.is_empty());
            assert_eq!(json!(problem.kind), json!(problem.kind.code()));
            problem.kind.code()
        })
        .collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of rows, or one story")]
fn wrong_definitions_are_refused_with_every_reason() {
    let rows = [
        (json!({"name": "w", "steps": []}), "workflow_without_steps"),
        (
            json!({"name": "w", "steps": [{"name": "a", "step_type": "dance"}]}),
            "step_type_unknown",
        ),
        (
            json!({"name": "w", "steps": [{"name": "1 a", "step_type": "task"}]}),
            "step_name_malformed",
        ),
        (
            json!({"name": "w", "steps": [{"name": "", "step_type": "task"}]}),
            "step_name_malformed",
        ),
        (
            json!({"name": "w", "steps": [{"name": "a", "step_type": "task"}, {"name": "a", "step_type": "task"}]}),
            "step_name_twice",
        ),
        (
            json!({"name": "w", "steps": [{"name": "a", "step_type": "task", "next_steps": ["b"]}]}),
            "step_unknown",
        ),
        (
            json!({"name": "w", "steps": [{"name": "a", "step_type": "task"}, {"name": "b", "step_type": "task"}]}),
            "step_unreachable",
        ),
        (
            json!({"name": "w", "steps": [{"name": "a", "step_type": "task", "next_steps": ["a"]}]}),
            "steps_in_a_cycle",
        ),
        (
            json!({"name": "w", "steps": [
                {"name": "a", "step_type": "task", "next_steps": ["b"]},
                {"name": "b", "step_type": "condition", "conditions": [{"expression": "x", "next_step": "a"}]},
            ]}),
            "steps_in_a_cycle",
        ),
        (
            json!({"name": "w", "steps": [{"name": "a", "step_type": "parallel"}]}),
            "steps_within_missing",
        ),
        (
            json!({"name": "w", "steps": [{"name": "a", "step_type": "task", "parallel_steps": ["b"]}, {"name": "b", "step_type": "task"}]}),
            "steps_within_misplaced",
        ),
        (
            json!({"name": "w", "steps": [{"name": "a", "step_type": "condition", "conditions": ["x"]}]}),
            "conditions_missing",
        ),
        (
            json!({"name": "w", "steps": [{"name": "a", "step_type": "task", "conditions": [{"expression": "x", "next_step": "a"}]}]}),
            "branch_misplaced",
        ),
        (
            json!({"name": "w", "steps": [{"name": "a", "step_type": "task", "conditions": ["1 +"]}]}),
            "expression_malformed",
        ),
        (
            json!({"name": "w", "steps": [{"name": "a", "step_type": "task", "parameters": {"p": "{{ 1 + }}"}}]}),
            "expression_malformed",
        ),
        (
            json!({"name": "w", "steps": [
                {"name": "a", "step_type": "loop", "parallel_steps": ["b"], "parameters": {"max_iterations": 0}},
                {"name": "b", "step_type": "task"},
            ]}),
            "loop_limit_out_of_range",
        ),
        (
            json!({"name": "w", "steps": [{"name": "a", "step_type": "task", "max_retries": 11}]}),
            "retries_out_of_range",
        ),
        (
            json!({"name": "w", "steps": [{"name": "a", "step_type": "task", "timeout": 0}]}),
            "timeout_out_of_range",
        ),
    ];
    for (definition, expected) in rows {
        assert!(
            problems(definition.clone()).contains(expected),
            "{expected}: {definition}"
        );
    }
    let both =
        json!({"name": "w", "steps": [{"name": "a", "step_type": "dance", "next_steps": ["b"]}]});
    assert_eq!(
        problems(both).into_iter().collect::<Vec<_>>(),
        ["step_type_unknown", "step_unknown"]
    );
    let many: Vec<Value> = (0..=STEPS_MAX)
        .map(|step| json!({"name": format!("s{step}"), "step_type": "task"}))
        .collect();
    assert!(problems(json!({"name": "w", "steps": many})).contains("workflow_too_large"));
}

#[test]
fn defaults_are_the_documented_ones() {
    let found = workflow(json!({"name": "w", "steps": [{"name": "a", "step_type": "task"}]}));
    let step = found.definition().steps.first().expect("one step");
    assert_eq!((step.max_retries, step.timeout), (3, 300));
}

#[test]
fn steps_follow_in_order_with_all_that_follows_them() {
    let (began, run) = order(json!({"name": "w", "steps": [
        {"name": "a", "step_type": "task", "next_steps": ["b", "c"]},
        {"name": "b", "step_type": "api_call", "next_steps": ["d"]},
        {"name": "c", "step_type": "notification"},
        {"name": "d", "step_type": "document_generation"},
    ]}));
    assert_eq!(began, ["a", "b", "d", "c"]);
    assert_eq!(run.status(), Status::Completed);
    assert!((run.progress() - 1.0).abs() < 1e-12);
    assert_eq!(run.outputs().len(), 4);
}

#[test]
fn conditions_choose_and_guards_skip() {
    let definition = |n: i64| {
        json!({"name": "w", "variables": {"n": n}, "steps": [
            {"name": "choose", "step_type": "condition", "next_steps": ["other"], "conditions": [
                {"expression": "n > 10", "next_step": "big"}, {"expression": "n > 5", "next_step": "middle"},
            ]},
            {"name": "big", "step_type": "task", "next_steps": ["end"]},
            {"name": "middle", "step_type": "task", "next_steps": ["end"], "conditions": ["n != 7"]},
            {"name": "other", "step_type": "task", "next_steps": ["end"]},
            {"name": "end", "step_type": "task"},
        ]})
    };
    let rows: [(i64, &[&str]); 4] = [
        (11, &["big", "end"]),
        (6, &["middle", "end"]),
        (7, &["end"]),
        (1, &["other", "end"]),
    ];
    for (n, expected) in rows {
        let (began, run) = order(definition(n));
        assert_eq!(began, expected, "{n}");
        assert_eq!(run.status(), Status::Completed);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of rows, or one story")]
fn parallel_steps_begin_together_and_join() {
    let mut run = run(json!({"name": "w", "steps": [
        {"name": "fan", "step_type": "parallel", "parallel_steps": ["a", "b"], "next_steps": ["end"]},
        {"name": "a", "step_type": "task", "next_steps": ["after_a"]},
        {"name": "after_a", "step_type": "task"},
        {"name": "b", "step_type": "task"},
        {"name": "end", "step_type": "task", "parameters": {"sum": "{{ steps.a.output.v + steps.b.output.v }}"}},
    ]}));
    let starts = |effects: &[Effect]| -> Vec<(u64, String)> {
        let starts = effects.iter().filter_map(|effect| match effect {
            Effect::Start(start) => Some((start.ticket, start.step.clone())),
            _ => None,
        });
        starts.collect()
    };
    let first = starts(&run.handle(Event::Begin, 0));
    assert_eq!(
        first
            .iter()
            .map(|(_, step)| step.as_str())
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    let of = |step: &str| {
        first
            .iter()
            .find(|(_, name)| name == step)
            .expect("it began")
            .0
    };
    assert!(
        run.handle(
            Event::Finished {
                ticket: of("b"),
                output: json!({"v": 2})
            },
            1
        )
        .is_empty()
    );
    let then = starts(&run.handle(
        Event::Finished {
            ticket: of("a"),
            output: json!({"v": 40}),
        },
        2,
    ));
    assert_eq!(then.first().map(|(_, step)| step.as_str()), Some("after_a"));
    // Told twice, it counts once.
    assert!(
        run.handle(
            Event::Finished {
                ticket: of("a"),
                output: json!({"v": 0})
            },
            3
        )
        .is_empty()
    );
    let effects = run.handle(
        Event::Finished {
            ticket: then[0].0,
            output: json!(null),
        },
        4,
    );
    let Some(Effect::Start(end)) = effects.first() else {
        panic!("{effects:?}")
    };
    assert_eq!(
        (end.step.as_str(), end.parameters.get("sum")),
        ("end", Some(&json!(42)))
    );
    let effects = run.handle(
        Event::Finished {
            ticket: end.ticket,
            output: json!(1),
        },
        5,
    );
    assert_eq!(
        effects,
        [Effect::Ended {
            status: Status::Completed
        }]
    );
}

#[test]
fn loops_go_round_while_their_conditions_hold_and_no_further() {
    let definition = |limit: u64, condition: &str| {
        json!({"name": "w", "steps": [
            {"name": "again", "step_type": "loop", "parallel_steps": ["work", "check"], "conditions": [condition],
             "parameters": {"max_iterations": limit}, "next_steps": ["end"]},
            {"name": "work", "step_type": "task", "parameters": {"round": "{{ loop.index }}"}},
            {"name": "check", "step_type": "task"},
            {"name": "end", "step_type": "task"},
        ]})
    };
    let rounds = |definition: Value| {
        let mut run = run(definition);
        let began = drive(&mut run, |start, _| {
            Ok(json!({ "round": start.parameters.get("round") }))
        });
        assert_eq!(run.status(), Status::Completed);
        assert_eq!(began.last().map(String::as_str), Some("end"));
        began.iter().filter(|step| *step == "work").count()
    };
    assert_eq!(rounds(definition(4, "true")), 4);
    assert_eq!(
        rounds(definition(
            9,
            "not steps.work.output or steps.work.output.round < 3"
        )),
        3
    );
    assert_eq!(rounds(definition(9, "false")), 0);
}

#[test]
fn sequences_and_nesting_keep_order() {
    let (began, _) = order(json!({"name": "w", "steps": [
        {"name": "outer", "step_type": "sequence", "parallel_steps": ["a", "inner"], "next_steps": ["z"]},
        {"name": "a", "step_type": "task"},
        {"name": "inner", "step_type": "loop", "parallel_steps": ["fan"], "parameters": {"max_iterations": 2}},
        {"name": "fan", "step_type": "parallel", "parallel_steps": ["p", "q"]},
        {"name": "p", "step_type": "task", "parameters": {"round": "{{ loop.index }}"}},
        {"name": "q", "step_type": "task"},
        {"name": "z", "step_type": "task"},
    ]}));
    assert_eq!(began, ["a", "p", "q", "p", "q", "z"]);
}

#[test]
fn attempts_are_repeated_later_and_later_then_the_run_fails() {
    let mut run =
        run(json!({"name": "w", "steps": [{"name": "a", "step_type": "task", "max_retries": 2}]}));
    let mut now_ms = 0;
    let mut effects = run.handle(Event::Begin, now_ms);
    for (attempt, wait_ms) in [(1, 1000), (2, 2000)] {
        let Some(Effect::Start(start)) = effects.first() else {
            panic!("{effects:?}")
        };
        assert_eq!(start.attempt, attempt);
        let failed = Event::Failed {
            ticket: start.ticket,
            reason: "by chance".to_owned(),
            may_retry: true,
        };
        assert!(run.handle(failed, now_ms).is_empty());
        assert_eq!(run.next_wake_ms(), Some(now_ms + wait_ms));
        assert!(run.handle(Event::Tick, now_ms + wait_ms - 1).is_empty());
        now_ms += wait_ms;
        effects = run.handle(Event::Tick, now_ms);
    }
    let Some(Effect::Start(start)) = effects.first() else {
        panic!("{effects:?}")
    };
    let failed = Event::Failed {
        ticket: start.ticket,
        reason: "for good".to_owned(),
        may_retry: true,
    };
    assert_eq!(
        run.handle(failed, now_ms),
        [Effect::Ended {
            status: Status::Failed
        }]
    );
    let error = run.error().expect("it failed");
    assert_eq!(
        (
            error.code.as_str(),
            error.step.as_str(),
            error.detail.as_str()
        ),
        ("step_failed", "a", "for good")
    );
    assert!(!error.hint().is_empty());
    assert_eq!(
        run.records().get("a").map(|record| record.failures),
        Some(3)
    );
}

#[test]
fn what_takes_too_long_is_stopped_and_tried_again() {
    let mut run = run(
        json!({"name": "w", "steps": [{"name": "a", "step_type": "task", "timeout": 5, "max_retries": 1}]}),
    );
    let effects = run.handle(Event::Begin, 100);
    let Some(Effect::Start(first)) = effects.first() else {
        panic!("{effects:?}")
    };
    assert_eq!(run.next_wake_ms(), Some(5100));
    assert!(run.handle(Event::Tick, 5099).is_empty());
    assert_eq!(
        run.handle(Event::Tick, 5100),
        [Effect::Stop {
            ticket: first.ticket
        }]
    );
    // What the stopped attempt still says is nobody's.
    assert!(
        run.handle(
            Event::Finished {
                ticket: first.ticket,
                output: json!(1)
            },
            5200
        )
        .is_empty()
    );
    let effects = run.handle(Event::Tick, 6100);
    let Some(Effect::Start(second)) = effects.first() else {
        panic!("{effects:?}")
    };
    assert_eq!(second.attempt, 2);
    let effects = run.handle(Event::Tick, 11_100);
    assert_eq!(
        effects,
        [
            Effect::Stop {
                ticket: second.ticket
            },
            Effect::Ended {
                status: Status::Failed
            }
        ]
    );
    assert_eq!(
        run.error().map(|error| error.code.as_str()),
        Some("step_timed_out")
    );
}

#[test]
fn paused_runs_begin_nothing_and_resumed_ones_go_on() {
    let mut run = run(json!({"name": "w", "steps": [
        {"name": "a", "step_type": "task", "next_steps": ["b"]}, {"name": "b", "step_type": "task"},
    ]}));
    let effects = run.handle(Event::Begin, 0);
    let Some(Effect::Start(a)) = effects.first() else {
        panic!("{effects:?}")
    };
    assert!(run.handle(Event::Pause, 1).is_empty());
    assert!(
        run.handle(
            Event::Finished {
                ticket: a.ticket,
                output: json!(1)
            },
            2
        )
        .is_empty()
    );
    assert_eq!((run.status(), run.at_work().len()), (Status::Paused, 0));
    assert!((run.progress() - 0.5).abs() < 1e-12);
    let effects = run.handle(Event::Resume, 3);
    assert!(matches!(effects.first(), Some(Effect::Start(start)) if start.step == "b"));
}

#[test]
fn cancelled_runs_stop_what_is_at_work_and_hear_nothing_more() {
    let mut run = run(json!({"name": "w", "steps": [{"name": "a", "step_type": "task"}]}));
    let effects = run.handle(Event::Begin, 0);
    let Some(Effect::Start(a)) = effects.first() else {
        panic!("{effects:?}")
    };
    let effects = run.handle(Event::Cancel, 1);
    assert_eq!(
        effects,
        [
            Effect::Stop { ticket: a.ticket },
            Effect::Ended {
                status: Status::Cancelled
            }
        ]
    );
    for event in [
        Event::Finished {
            ticket: a.ticket,
            output: json!(1),
        },
        Event::Resume,
        Event::Begin,
        Event::Tick,
        Event::Adopt,
    ] {
        assert!(run.handle(event, 2).is_empty());
    }
    assert!(run.progress() < 1.0);
}

#[test]
fn adopted_runs_begin_lost_attempts_again_without_counting_them() {
    let mut run =
        run(json!({"name": "w", "steps": [{"name": "a", "step_type": "task", "max_retries": 0}]}));
    let effects = run.handle(Event::Begin, 0);
    let Some(Effect::Start(lost)) = effects.first() else {
        panic!("{effects:?}")
    };
    let mut adopted: Run = serde_json::from_value(json!(run)).expect("it was just written");
    let effects = adopted.handle(Event::Adopt, 50);
    let Some(Effect::Start(again)) = effects.first() else {
        panic!("{effects:?}")
    };
    assert_eq!((again.step.as_str(), again.attempt), ("a", 1));
    assert_ne!(again.ticket, lost.ticket);
    assert!(
        adopted
            .handle(
                Event::Finished {
                    ticket: lost.ticket,
                    output: json!(1)
                },
                60
            )
            .is_empty()
    );
    let effects = adopted.handle(
        Event::Finished {
            ticket: again.ticket,
            output: json!(1),
        },
        70,
    );
    assert_eq!(
        effects,
        [Effect::Ended {
            status: Status::Completed
        }]
    );
}

#[test]
fn runs_that_would_grow_without_bound_fail_with_a_code() {
    // Each of twelve steps is followed by both of the next level: the last would begin 2^12 times over and over.
    let level = |n: usize| json!({"name": format!("s{n}"), "step_type": "sequence", "parallel_steps": [format!("s{}", n + 1), format!("s{}", n + 1)]});
    let mut steps: Vec<Value> = (0..14).map(level).collect();
    steps.push(json!({"name": "s14", "step_type": "task"}));
    let mut long = run(json!({"name": "w", "steps": steps}));
    drive(&mut long, |_, _| Ok(json!(1)));
    assert_eq!(
        long.error().map(|error| error.code.as_str()),
        Some("run_too_long")
    );

    let fans: Vec<Value> = (0..3)
        .map(|n| json!({"name": format!("s{n}"), "step_type": "parallel", "parallel_steps": vec![format!("s{}", n + 1); 5]}))
        .chain([json!({"name": "s3", "step_type": "task"})])
        .collect();
    let mut wide = run(json!({"name": "w", "steps": fans}));
    let effects = wide.handle(Event::Begin, 0);
    assert_eq!(
        wide.error().map(|error| error.code.as_str()),
        Some("run_too_wide")
    );
    assert_eq!(
        effects,
        [Effect::Ended {
            status: Status::Failed
        }],
        "nothing began, so nothing is stopped"
    );

    let mut heavy = run(json!({"name": "w", "steps": [{"name": "a", "step_type": "task"}]}));
    drive(&mut heavy, |_, _| Ok(json!("x".repeat(RESULT_BYTES_MAX))));
    assert_eq!(
        heavy.error().map(|error| error.code.as_str()),
        Some("outputs_too_large")
    );

    let mut wrong = run(
        json!({"name": "w", "steps": [{"name": "a", "step_type": "task", "conditions": ["missing.f()"]}]}),
    );
    drive(&mut wrong, |_, _| Ok(json!(1)));
    assert_eq!(
        wrong.error().map(|error| error.code.as_str()),
        Some("expression_failed")
    );
}
