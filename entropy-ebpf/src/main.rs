//! Entropy's classifiers: what the kernel runs on a container's host veth and at the exits of the line
//! and of the wire.
//!
//! They only adapt. The arithmetic of every decision is in `entropy-common`, where the host can run
//! it too. Any internal error lets the packet pass and is counted: a fault injector must not add a
//! fault that nobody asked for.

#![no_std]
#![no_main]
// For one instruction, see maps::add.
#![feature(asm_experimental_arch)]
#![expect(clippy::needless_pass_by_value, reason = "the classifier macro wants the context so")]

mod apply;
mod frame;
mod hook;
mod line;
mod maps;
mod wire;

use aya_ebpf::{macros::classifier, programs::TcContext};
use entropy_common::rule::Direction;

/// Ingress hook of a host veth: packets from the container.
#[classifier]
fn entropy_from(ctx: TcContext) -> i32 {
    hook::classify(&ctx, Direction::Egress)
}

/// Egress hook of a host veth: packets to the container.
#[classifier]
fn entropy_to(ctx: TcContext) -> i32 {
    hook::classify(&ctx, Direction::Ingress)
}

/// Ingress hook of the line's exit: packets that have waited go on to where they were going, and those
/// that were lost on purpose end here, where nobody is told.
#[classifier]
fn entropy_exit(ctx: TcContext) -> i32 {
    line::leave(&ctx)
}

/// Ingress hook of the wire's exit: frames, of which some are lost or damaged, go on to where they were
/// going, or into the line.
#[classifier]
fn entropy_wire(ctx: TcContext) -> i32 {
    wire::leave(&ctx)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses an endless loop: a panic that can be reached is a load error.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
