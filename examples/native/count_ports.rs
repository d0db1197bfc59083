// SPDX-License-Identifier: Apache-2.0
//! The stage of count_ports.c in Rust:
//!
//!     rustc -O --crate-type cdylib count_ports.rs -o libcount_ports.so

use std::ffi::c_void;
use std::slice;

/// `struct wp_batch` of wirepath/batch.h, ABI 1.
#[repr(C)]
pub struct WpBatch {
    pub abi: u32,
    pub capacity: u32,
    pub count: u32,
    pub port: u16,
    pub queue: u16,
    pub data: *mut *mut u8,
    pub length: *mut u32,
    pub timestamp: *mut i64,
    pub hash: *mut u32,
    pub verdict: *mut u8,
    pub target: *mut u16,
    pub handle: *mut u64,
}

#[no_mangle]
pub static wp_stage_abi: u32 = 1;

#[no_mangle]
pub static count_ports_state_bytes: u64 = 65536 * 8;

/// The UDP destination port of an IPv4 frame without VLAN tag.
fn destination_port(frame: &[u8]) -> Option<u16> {
    if frame.get(12..14)? != [0x08, 0x00] || *frame.get(23)? != 17 {
        return None;
    }
    let udp = 14 + (frame[14] & 15) as usize * 4;
    let header = frame.get(udp..udp + 8)?;
    Some(u16::from_be_bytes([header[2], header[3]]))
}

/// # Safety
/// Called by a wirepath worker, whose batch and state are what they are declared to be.
#[no_mangle]
pub unsafe extern "C" fn count_ports(batch: *mut WpBatch, state: *mut c_void) -> i32 {
    let batch = &*batch;
    let counts = slice::from_raw_parts_mut(state as *mut i64, 65536);
    for i in 0..batch.count as usize {
        let frame = slice::from_raw_parts(*batch.data.add(i), *batch.length.add(i) as usize);
        if let Some(port) = destination_port(frame) {
            counts[port as usize] += 1;
        }
    }
    0
}
