//! Asks the processor for memory before it is needed: the one place of this crate with unsafe code.
//!
//! A load in its stead would hold up all that comes after it; encoding gains 10 to 25 % by this.

#![allow(unsafe_code)]

/// Lets the line of memory in which `value` begins come near, without waiting for it.
#[inline]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads and changes nothing that a program could see, and SSE is part of x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::hint::black_box(value);
}
