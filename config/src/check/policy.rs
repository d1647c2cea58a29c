//! Which policy runs, and which strategies of services can run beside it. It must never know how a policy works, nor which
//! there are: whoever loads the settings says that.
//!
//! A node has one order of eviction, because its budget is one: a victim is the block that is worth least of all services', and
//! scores of two policies cannot be compared. So a service chooses how its blocks are stored, and not who goes first.

use super::problem;
use crate::key::SERVICES_SECTION;
use crate::problem::{Origin, Problem};
use crate::settings::Strategy;
use crate::settle::Loaded;
use crate::suggest::closest;

/// An unknown policy, and services that ask for another order than the node's.
pub(super) fn check(loaded: &Loaded, policies: &[&'static str], problems: &mut Vec<Problem>) {
    let cache = &loaded.settings.cache;
    if let Some(name) = &cache.policy
        && !policies.contains(&name.as_str())
    {
        problems.push(unknown(loaded, name, policies));
        return;
    }
    for (service, settings) in &loaded.settings.services {
        let Some(strategy) = settings.strategy else {
            continue;
        };
        let key = format!("{SERVICES_SECTION}.{service}.strategy");
        let policy = cache.policy_name();
        // Where the order has a name of its own, strategies that name none say only how blocks are stored.
        let is_order_other =
            policy != strategy.policy() && (cache.policy.is_none() || strategy.is_order());
        if is_order_other {
            let reason = format!(
                "`{}` evicts by `{}` and this node by `{policy}`: all services of a node share its budget, and so one order",
                strategy.name(),
                strategy.policy(),
            );
            let hint = "leave it out, or give cache.strategy the same order on this node";
            problems.push(problem(loaded, &key, "config.contradiction", reason, hint));
        } else if strategy == Strategy::Paged && cache.strategy != Strategy::Paged {
            let reason = format!(
                "`paged` is about pages, which have one size on a node, and cache.strategy is `{}`",
                cache.strategy.name()
            );
            let hint = "leave it out, or set cache.strategy to `paged` or cache.page_bytes";
            problems.push(problem(loaded, &key, "config.contradiction", reason, hint));
        }
    }
}

fn unknown(loaded: &Loaded, name: &str, policies: &[&'static str]) -> Problem {
    let all: Vec<String> = policies.iter().map(|name| format!("`{name}`")).collect();
    let all = all.join(", ");
    let hint = match closest(name, policies.iter().copied()) {
        Some(known) => format!("did you mean `{known}`? Possible: {all}"),
        None => format!("possible: {all}"),
    };
    let key = "cache.policy";
    Problem {
        code: "config.unknown_policy",
        key: key.to_owned(),
        origin: loaded.origins.get(key).cloned().unwrap_or(Origin::Default),
        given: Some(name.to_owned()),
        reason: "is not a policy of this program".to_owned(),
        hint: Some(hint),
    }
}

#[cfg(test)]
mod tests {
    use crate::source::{FlagValue, Sources};

    /// The codes of the problems, with the keys that they are about, and what is in force when there are none.
    fn found(flags: &[(&str, &str)]) -> Result<String, Vec<String>> {
        let flag = |(key, value): &(&str, &str)| FlagValue {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
            flag: "--set".to_owned(),
        };
        let loaded = crate::load(&Sources {
            flags: flags.iter().map(flag).collect(),
            policies: vec!["lru", "lfuda", "s3-fifo", "adaptive"],
            ..Sources::default()
        });
        loaded
            .map(|loaded| loaded.settings.cache.policy_name().to_owned())
            .map_err(|error| error.problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_strategy_has_its_order_and_a_policy_by_name_wins() {
        let strategies = [
            ("lru", "lru"),
            ("lfu", "lfuda"),
            ("adaptive", "adaptive"),
            ("paged", "adaptive"),
            ("compressed", "adaptive"),
            ("quantized", "adaptive"),
        ];
        for (strategy, policy) in strategies {
            let of_strategy = [("cache.strategy", strategy)];
            assert_eq!(found(&of_strategy), Ok(policy.to_owned()), "{strategy}");
            let named = [("cache.strategy", strategy), ("cache.policy", "s3-fifo")];
            assert_eq!(found(&named), Ok("s3-fifo".to_owned()), "{strategy}");
        }
        assert_eq!(found(&[]), Ok("adaptive".to_owned()));
    }

    #[test]
    fn a_policy_that_nobody_registered_is_refused_with_the_nearest_name() {
        let told = found(&[("cache.policy", "s3fifo")]).expect_err("unknown");
        assert_eq!(
            told,
            [
                "error[config.unknown_policy]: cache.policy: is not a policy of this program\n  --> flag --set\n  given: s3fifo\n  hint: did you mean `s3-fifo`? Possible: `lru`, `lfuda`, `s3-fifo`, `adaptive`"
            ]
        );
        let told = found(&[("cache.policy", "oracle")]).expect_err("unknown");
        assert!(told[0].contains("hint: possible: `lru`"), "{told:?}");
    }

    #[test]
    fn a_service_stores_as_it_likes_in_the_nodes_order() {
        let check = |node: &[(&str, &str)], strategy, is_accepted: bool| {
            let mut flags = node.to_vec();
            flags.push(("services.bul.strategy", strategy));
            let found = found(&flags);
            assert_eq!(found.is_ok(), is_accepted, "{flags:?}: {found:?}");
            for told in found.err().unwrap_or_default() {
                assert!(told.contains("services.bul.strategy"), "{told}");
                assert!(told.contains("hint: leave it out"), "{told}");
            }
        };
        for strategy in ["adaptive", "compressed", "quantized"] {
            check(&[], strategy, true);
            check(&[("cache.strategy", "lru")], strategy, false);
        }
        check(&[], "lru", false);
        check(&[], "lfu", false);
        check(&[], "paged", false);
        check(&[("cache.strategy", "paged")], "paged", true);
        check(&[("cache.strategy", "paged")], "quantized", true);
        check(&[("cache.policy", "s3-fifo")], "compressed", true);
        check(&[("cache.policy", "s3-fifo")], "lru", false);
        check(&[("cache.policy", "lru")], "lru", true);
    }
}
