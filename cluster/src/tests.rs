//! Tests of a cluster of one over a real node.
