//! Scratch.
use ultrakv_cache::*;
use ultrakv_cache::codec::*;
use ultrakv_lab::codecs::{profile::*, blocks::*, quality, speed};
fn main() {
    let shape = SampleShape { heads: 8, tokens: 2048, dims: 128, queries: 256 };
    let q: usize = std::env::args().nth(1).map_or(1, |x| x.parse().unwrap());
    for profile in Profile::ALL {
        let sample = Sample::generate(profile, shape, 1);
        let blocks = Blocks::cut(&sample, Dtype::Bf16, 64).unwrap();
        if q > 0 {
 let (mut en, mut top)=(0.0,0.0); for h in 0..8 { let a = sample.head(h,&sample.keys,&sample.values); for qq in sample.queries_of(h) { let w=a.answer(qq).weights; en -= w.iter().filter(|w| **w>0.0).map(|w| w*w.log2()).sum::<f32>(); top += w.iter().copied().fold(0.0,f32::max);} } println!("entropy {} top {} qnorm {}", en/2048.0, top/2048.0, sample.queries.iter().map(|x|x*x).sum::<f32>().sqrt()/2048f32.sqrt());
        let exact = quality::answers(&sample);
        for accepted in [0.3f32, 0.22, 0.15, 0.14,0.1, 0.05, 0.03, 0.01, 0.008] { let h = ultrakv_lab::codecs::contracts::measure(&sample,&blocks,&exact,&Contract{archive:accepted>0.25, ..Contract::accepting(accepted)}, 5);
          println!("{:6} accepted {:.3} probed {:.4} promised {:.4} held {:.4} bound {:.3} ratio {:.2} {:?} {}", profile.name(), accepted, h.probed, h.promised, h.held_out, h.bound, h.ratio, h.rungs, h.kept);
        }}
        if q == 0 && profile == Profile::Qwen { for isa in Isa::available() {
        for s in speed::measure(&blocks, &Codec::ALL, isa, 5) {
            println!("{:8} {:9} enc {:.2} dec {:.2} chk {:.2}", isa.name(), s.codec, s.encode_gbs, s.decode_gbs, s.checked_gbs);
        }}}
    }
}
