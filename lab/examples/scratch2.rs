//! Scratch.
use ultrakv_cache::*;
use ultrakv_cache::codec::*;
use ultrakv_lab::codecs::{profile::*, blocks::*, speed};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let tokens: usize = a[1].parse().unwrap();
    let rounds: usize = a[2].parse().unwrap();
    let codecs: Vec<Codec> = Codec::ALL.into_iter().filter(|c| a.len() < 4 || a[3..].iter().any(|n| n == c.name())).collect();
    let shape = SampleShape { heads: 8, tokens, dims: 128, queries: 1 };
    let sample = Sample::generate(Profile::Qwen, shape, 1);
    let blocks = Blocks::cut(&sample, Dtype::Bf16, 64).unwrap();
    for isa in Isa::available().into_iter().rev().take(1) {
        for s in speed::measure(&blocks, &codecs, isa, rounds) {
            println!("{:8} {:9} enc {:.2} dec {:.2} chk {:.2}", isa.name(), s.codec, s.encode_gbs, s.decode_gbs, s.checked_gbs);
        }
    }
}
