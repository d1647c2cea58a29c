//! Prometheus' text format, written from values at hand.
//!
//! # Source
//! Prometheus documentation, *Exposition formats*, text format 0.0.4: one HELP and one TYPE line before a family's samples, all of a
//! family's samples together.

use std::collections::BTreeSet;
use std::fmt::Write;

/// The media type of the format.
pub(crate) const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A text under construction. A family that is already in it is not written again: twice the same family is no text at all.
#[derive(Debug)]
pub(crate) struct Exposition {
    text: String,
    families: BTreeSet<String>,
}

/// What kind of figure a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Labels of one sample; values are ours and few, names are plain.
pub(crate) type Labels<'a> = &'a [(&'a str, &'a str)];

impl Exposition {
    /// A text that begins with what was rendered elsewhere.
    pub(crate) fn over(recorded: &str) -> Self {
        let mut text = recorded.to_owned();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        let types = recorded
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "));
        let families = types
            .filter_map(|rest| rest.split(' ').next())
            .map(ToOwned::to_owned)
            .collect();
        Self { text, families }
    }

    /// A family with one sample that only grows.
    pub(crate) fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.counters(name, help, &[(&[], value)]);
    }

    /// A family of samples that only grow.
    pub(crate) fn counters(&mut self, name: &str, help: &str, samples: &[(Labels<'_>, f64)]) {
        self.family(name, help, Kind::Counter, samples);
    }

    /// A family with one sample that goes up and down.
    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.gauges(name, help, &[(&[], value)]);
    }

    /// A family of samples that go up and down.
    pub(crate) fn gauges(&mut self, name: &str, help: &str, samples: &[(Labels<'_>, f64)]) {
        self.family(name, help, Kind::Gauge, samples);
    }

    /// A family of cumulative buckets, each with its upper end, with their sum and count. `quantiles` are what older rules ask
    /// the same name for; a name that nobody asks so has none.
    pub(crate) fn histogram(
        &mut self,
        (name, help): (&str, &str),
        buckets: &[(f64, u64)],
        (sum, count): (f64, u64),
        quantiles: &[(&str, f64)],
    ) {
        if !self.head(name, help, Kind::Histogram) {
            return;
        }
        for (quantile, value) in quantiles {
            self.sample(name, &[("quantile", quantile)], *value);
        }
        let bucket = format!("{name}_bucket");
        for (end, within) in buckets {
            let end = end.to_string();
            self.sample(&bucket, &[("le", &end)], crate::figures::float(*within));
        }
        self.sample(&bucket, &[("le", "+Inf")], crate::figures::float(count));
        self.sample(&format!("{name}_sum"), &[], sum);
        self.sample(&format!("{name}_count"), &[], crate::figures::float(count));
    }

    /// The finished text.
    pub(crate) fn finish(self) -> String {
        self.text
    }

    fn family(&mut self, name: &str, help: &str, kind: Kind, samples: &[(Labels<'_>, f64)]) {
        if !self.head(name, help, kind) {
            return;
        }
        for (labels, value) in samples {
            self.sample(name, labels, *value);
        }
    }

    /// Begins a family; false when the text has it already.
    fn head(&mut self, name: &str, help: &str, kind: Kind) -> bool {
        if !self.families.insert(name.to_owned()) {
            return false;
        }
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        true
    }

    fn sample(&mut self, name: &str, labels: Labels<'_>, value: f64) {
        self.text.push_str(name);
        for (position, (label, text)) in labels.iter().enumerate() {
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let _ = write!(
                self.text,
                "{}{label}=\"{text}\"",
                if position == 0 { '{' } else { ',' }
            );
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_have_heads_and_labels_are_escaped() {
        let mut exposition = Exposition::over("# TYPE recorded_total counter\nrecorded_total 1");
        exposition.counter("recorded_total", "Recorded already.", 2.0);
        exposition.counter("a_total", "What a is.", 3.0);
        exposition.gauges(
            "b",
            "Two\nlines.",
            &[(&[("x", "1"), ("y", "a\"b\\c\n")], 0.25)],
        );
        let buckets = [(0.25, 1), (1.0, 2)];
        exposition.histogram(("c_seconds", "Time."), &buckets, (1.5, 2), &[("0.5", 0.1)]);
        let expected = "# TYPE recorded_total counter\nrecorded_total 1\n\
            # HELP a_total What a is.\n# TYPE a_total counter\na_total 3\n\
            # HELP b Two\\nlines.\n# TYPE b gauge\nb{x=\"1\",y=\"a\\\"b\\\\c\\n\"} 0.25\n\
            # HELP c_seconds Time.\n# TYPE c_seconds histogram\nc_seconds{quantile=\"0.5\"} 0.1\n\
            c_seconds_bucket{le=\"0.25\"} 1\nc_seconds_bucket{le=\"1\"} 2\nc_seconds_bucket{le=\"+Inf\"} 2\n\
            c_seconds_sum 1.5\nc_seconds_count 2\n";
        assert_eq!(exposition.finish(), expected);
    }
}
