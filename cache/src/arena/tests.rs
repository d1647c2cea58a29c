//! Tests of the arena against a model that keeps one state a page.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Page {
    Absent,
    Free,
    Used,
}

#[derive(Clone, Debug)]
enum Step {
    Allocate(u32),
    Free(usize),
    Discard(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..20_u32).prop_map(Step::Allocate),
        3 => any::<usize>().prop_map(Step::Free),
        1 => (0..40_u32).prop_map(Step::Discard),
    ];
    proptest::collection::vec(step, 1..200)
}

fn count(model: &[Page], state: Page) -> u32 {
    u32::try_from(model.iter().filter(|page| **page == state).count()).unwrap()
}

fn set(model: &mut [Page], ranges: &[PageRange], from: &[Page], to: Page) {
    for range in ranges {
        for page in range.first..range.end() {
            let page = &mut model[usize::try_from(page).unwrap()];
            assert!(from.contains(page), "{page:?} is none of {from:?}");
            *page = to;
        }
    }
}

proptest! {
    #[test]
    fn lends_no_page_twice_and_counts_every_page(pages in 1..80_u32, steps in steps()) {
        let mut arena = Arena::new(pages);
        let mut model = vec![Page::Absent; usize::try_from(pages).unwrap()];
        let mut held: Vec<Extents> = Vec::new();
        for step in steps {
            match step {
                Step::Allocate(wanted) => {
                    let free = pages - count(&model, Page::Used);
                    match arena.allocate(wanted) {
                        None => prop_assert!(wanted == 0 || free < wanted),
                        Some(extents) => {
                            prop_assert_eq!(extents.pages(), wanted);
                            set(&mut model, extents.as_slice(), &[Page::Absent, Page::Free], Page::Used);
                            held.push(extents);
                        }
                    }
                }
                Step::Free(pick) => {
                    if !held.is_empty() {
                        let extents = held.swap_remove(pick % held.len());
                        arena.free(&extents);
                        set(&mut model, extents.as_slice(), &[Page::Used], Page::Free);
                    }
                }
                Step::Discard(wanted) => {
                    let expected = wanted.min(count(&model, Page::Free));
                    let mut discarded = Vec::new();
                    prop_assert_eq!(arena.discard(wanted, &mut discarded), expected);
                    set(&mut model, &discarded, &[Page::Free], Page::Absent);
                }
            }
            prop_assert_eq!(arena.used_pages(), count(&model, Page::Used));
            prop_assert_eq!(arena.free_pages(), pages - count(&model, Page::Used));
            prop_assert_eq!(arena.resident_free_pages(), count(&model, Page::Free));
        }
    }
}

#[test]
fn prefers_pages_that_are_resident_and_one_range() {
    let mut arena = Arena::new(100);
    let a = arena.allocate(10).unwrap();
    let b = arena.allocate(10).unwrap();
    arena.free(&a);
    assert_eq!(
        arena.allocate(4).unwrap(),
        Extents::One(PageRange { first: 0, pages: 4 })
    );
    assert_eq!(
        arena.allocate(7).unwrap(),
        Extents::One(PageRange {
            first: 20,
            pages: 7
        })
    );
    arena.free(&b);
    assert_eq!(arena.resident_free_pages(), 16);
    assert_eq!(
        arena.allocate(16).unwrap(),
        Extents::One(PageRange {
            first: 4,
            pages: 16
        })
    );
}

#[test]
fn cuts_a_block_only_when_no_range_is_long_enough() {
    let mut arena = Arena::new(12);
    let held: Vec<Extents> = (0..6).map(|_| arena.allocate(2).unwrap()).collect();
    for extents in held.iter().step_by(2) {
        arena.free(extents);
    }
    let block = arena.allocate(5).unwrap();
    assert_eq!(block.as_slice().len(), 3);
    assert_eq!(block.pages(), 5);
    assert_eq!(arena.free_pages(), 1);
    arena.free(&block);
    held.iter()
        .skip(1)
        .step_by(2)
        .for_each(|extents| arena.free(extents));
    assert_eq!(arena.allocate(12).unwrap().as_slice().len(), 1);
}
