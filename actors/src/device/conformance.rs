//! What every device must do, run over each of them, the fake among them: what tests learn with it
//! must hold on the real one.

use std::sync::Arc;

use super::{Device, FakeDevice, HostDevice, Memory, TierError};

const PAGE: u64 = 4096;
const SIZE: u64 = 256 * PAGE;

fn each_device(check: impl Fn(&dyn Device, Arc<dyn Memory>)) {
    let devices: [Box<dyn Device>; 3] = [
        Box::new(HostDevice::new(4096)),
        // Pages of whole huge pages: the path that asks the kernel for them.
        Box::new(HostDevice::new(2 << 20)),
        Box::new(FakeDevice::default()),
    ];
    for device in devices {
        let memory = device.open("conformance", SIZE).unwrap();
        check(&*device, memory);
    }
}

fn read(memory: &Arc<dyn Memory>, offset: u64, len: u64) -> Vec<u8> {
    Arc::clone(memory).read(offset, len).unwrap().to_vec()
}

fn pattern(len: u64) -> Vec<u8> {
    (0..len)
        .map(|i| u8::try_from(i % 251).unwrap() + 1)
        .collect()
}

#[test]
fn a_fresh_memory_is_zero_and_takes_up_nothing() {
    each_device(|device, memory| {
        assert_eq!(memory.size_bytes(), SIZE, "{device:?}");
        assert_eq!(memory.resident_bytes().unwrap(), 0, "{device:?}");
        assert!(
            read(&memory, 0, SIZE).iter().all(|byte| *byte == 0),
            "{device:?}"
        );
    });
}

#[test]
fn what_is_written_is_read_and_nothing_else_changes() {
    each_device(|device, memory| {
        let (offset, bytes) = (3 * PAGE + 17, pattern(5 * PAGE));
        memory.write(offset, &bytes).unwrap();
        assert_eq!(read(&memory, offset, 5 * PAGE), bytes, "{device:?}");
        assert_eq!(read(&memory, offset - 1, 1), [0], "{device:?}");
        assert_eq!(read(&memory, offset + 5 * PAGE, 1), [0], "{device:?}");
    });
}

#[test]
fn a_discarded_range_reads_as_zero_and_gives_its_room_back() {
    each_device(|device, memory| {
        memory.write(0, &pattern(8 * PAGE)).unwrap();
        let full = memory.resident_bytes().unwrap();
        assert!(full >= 8 * PAGE, "{device:?}");
        memory.discard(2 * PAGE, 4 * PAGE).unwrap();
        // Asked before the range is read, since a device may give it room again for that.
        assert_eq!(
            memory.resident_bytes().unwrap(),
            full - 4 * PAGE,
            "{device:?}"
        );
        let discarded = read(&memory, 2 * PAGE, 4 * PAGE);
        assert!(discarded.iter().all(|byte| *byte == 0), "{device:?}");
        assert_eq!(
            read(&memory, 0, 2 * PAGE),
            pattern(8 * PAGE)[..8192],
            "{device:?}"
        );
        memory.discard(0, SIZE).unwrap();
        assert_eq!(memory.resident_bytes().unwrap(), 0, "{device:?}");
        memory.discard(0, 0).unwrap();
    });
}

#[test]
fn no_range_outside_the_memory_is_touched() {
    each_device(|device, memory| {
        let ranges = [
            (SIZE, 1),
            (SIZE - 1, 2),
            (u64::MAX, 1),
            (1, u64::MAX),
            (SIZE + 1, 0),
        ];
        for (offset, len) in ranges {
            let read = Arc::clone(&memory).read(offset, len);
            assert!(
                matches!(read, Err(TierError::OutOfRange { .. })),
                "{device:?}"
            );
            assert!(memory.discard(offset, len).is_err(), "{device:?}");
            if len < 10 {
                assert!(memory.write(offset, &pattern(len)).is_err(), "{device:?}");
            }
        }
        assert_eq!(memory.resident_bytes().unwrap(), 0, "{device:?}");
    });
}

#[test]
fn bytes_that_were_read_outlive_the_memory_they_came_from() {
    each_device(|device, memory| {
        memory.write(PAGE, &pattern(PAGE)).unwrap();
        let bytes = Arc::clone(&memory).read(PAGE, PAGE).unwrap();
        drop(memory);
        assert_eq!(bytes, pattern(PAGE), "{device:?}");
    });
}

#[test]
fn memories_of_one_device_are_apart() {
    each_device(|device, memory| {
        let other = device.open("other", SIZE).unwrap();
        memory.write(0, &pattern(PAGE)).unwrap();
        assert!(
            read(&other, 0, PAGE).iter().all(|byte| *byte == 0),
            "{device:?}"
        );
    });
}

#[test]
fn a_machine_that_cannot_map_says_so() {
    // More than an address space.
    let error = HostDevice::new(4096)
        .open("too-large", 1 << 62)
        .unwrap_err();
    assert_eq!(error.code(), "tier_io", "{error}");
}
