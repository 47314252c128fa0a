//! How the blocks of a region hang together, worked out before code is made of them.

use crate::region::{Block, Edge, Region, Step};
use crate::sse;
use crate::survey::{ALL, CARRY};
use cpu::insn::Rep;
use cpu::semantics::Opcode;

/// See the module documentation. All lists have one element for each block.
pub(crate) struct Plan {
    /// It can be reached from an entry.
    pub(crate) reached: Vec<bool>,
    /// One way leads to it, from a block before it: it goes on with what is known there.
    pub(crate) single: Vec<bool>,
    /// What the dearest way costs from its beginning to where the quick translator's code looks at the budget next.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "for the quick translator"))]
    pub(crate) reach: Vec<i64>,
    /// Ways to it that are still to be made.
    pub(crate) ways: Vec<usize>,
    /// Registers whose values it needs.
    pub(crate) live: Vec<u32>,
    /// Where nothing is computed with the flags with which it begins: no more is done with them than to
    /// complete the state where an instruction is left.
    pub(crate) replaced: Vec<Option<Replaced>>,
    /// The code generator looks at the budget on each way to it: a loop begins, the way may be the first, or the last
    /// block may have used up more than was known. Ways to other blocks lead forwards.
    pub(crate) checked: Vec<bool>,
    /// What the dearest way costs from its beginning to such a place, ways that meet included.
    pub(crate) far: Vec<i64>,
}

/// What of the flags must be where it can be found at the beginning of a block that several ways lead to.
#[derive(Clone, Copy)]
pub(crate) enum Need {
    /// Nothing: they are replaced before anybody can see them.
    No,
    /// No more than is needed to complete the state where an instruction is left.
    Name(Replaced),
    /// All of them. With `carry`, CF is wanted by itself.
    All { carry: bool },
}

/// The flags with which a block begins are replaced before anything is computed with them.
#[derive(Clone, Copy)]
pub(crate) struct Replaced {
    /// All but the carry: by INC or DEC, which keep it.
    pub(crate) keeps_carry: bool,
    /// General-purpose registers that are written before that.
    pub(crate) written: u32,
}

fn replaced(block: &Block) -> Option<Replaced> {
    let mut written = 0;
    for step in &block.steps {
        let s = &step.survey;
        if s.consumes || step.insn.op == Opcode::Helper && !sse::is_native(&step.insn) {
            return None;
        }
        if s.defines == ALL {
            return Some(Replaced { keeps_carry: false, written });
        }
        if s.defines != 0 && step.live != 0 {
            let keeps_carry = matches!(step.insn.op, Opcode::Inc | Opcode::Dec);
            return keeps_carry.then_some(Replaced { keeps_carry, written });
        }
        written |= s.written;
    }
    None
}

/// Registers that a block needs before it writes them, and those that it writes first.
fn registers(block: &Block) -> (u32, u32) {
    let (mut needs, mut settled) = (0, 0);
    for step in &block.steps {
        if step.insn.op == Opcode::Helper && !sse::is_native(&step.insn) {
            // Behind a helper they come from memory again.
            return (needs, 0xffff);
        }
        needs |= step.survey.reads & !settled;
        settled |= step.survey.replaces;
    }
    (needs, settled)
}

impl Plan {
    pub(crate) fn new(region: &Region) -> Plan {
        let blocks = &region.blocks;
        let successors = |n: usize| {
            let b = &blocks[n];
            let edges = [b.taken, b.fall].into_iter().filter_map(|edge| match edge {
                Edge::Block(to) => Some(to),
                _ => None,
            });
            edges.chain(b.guesses.iter().copied())
        };
        let mut reached = vec![false; blocks.len()];
        let mut work = region.entries.clone();
        while let Some(n) = work.pop() {
            if !std::mem::replace(&mut reached[n], true) {
                work.extend(successors(n));
            }
        }
        let mut ways = vec![0; blocks.len()];
        let mut from = vec![usize::MAX; blocks.len()];
        for &n in &region.entries {
            ways[n] += 1;
        }
        for n in (0..blocks.len()).filter(|&n| reached[n]) {
            for to in successors(n) {
                ways[to] += 1;
                from[to] = n;
            }
        }
        let single: Vec<bool> =
            (0..blocks.len()).map(|n| reached[n] && ways[n] == 1 && !blocks[n].is_entry && from[n] < n).collect();
        let mut reach = vec![0; blocks.len()];
        // The successors that go on with what is known come later.
        for n in (0..blocks.len()).rev() {
            let price = blocks[n].steps.len() as i64;
            let consumes = blocks[n].slow_end || blocks[n].steps.iter().any(|s| s.insn.rep != Rep::No);
            let on = successors(n).filter(|&to| single[to] && !consumes).map(|to| reach[to]).max();
            reach[n] = price + on.unwrap_or(0);
        }
        let own: Vec<(u32, u32)> = blocks.iter().map(registers).collect();
        let mut live = vec![0; blocks.len()];
        loop {
            let mut changed = false;
            for n in (0..blocks.len()).rev() {
                let behind = successors(n).fold(0, |all, to| all | live[to]);
                let new = own[n].0 | behind & !own[n].1;
                changed |= new != live[n];
                live[n] = new;
            }
            if !changed {
                break;
            }
        }
        let replaced = blocks.iter().map(|b| replaced(b).filter(|_| b.live != 0)).collect();
        let consumes = |n: usize| blocks[n].steps.iter().any(|s| s.insn.rep != Rep::No);
        let mut checked: Vec<bool> = blocks.iter().map(|b| b.is_entry).collect();
        for n in (0..blocks.len()).filter(|&n| reached[n]) {
            for to in successors(n) {
                checked[to] |= to <= n || consumes(n);
            }
        }
        let mut far = vec![0; blocks.len()];
        for n in (0..blocks.len()).rev() {
            let on = successors(n).filter(|&to| !checked[to]).map(|to| far[to]).max();
            far[n] = blocks[n].steps.len() as i64 + on.unwrap_or(0);
        }
        Plan { reached, single, reach, ways, live, replaced, checked, far }
    }
    /// What of the flags `block` needs, which has this number.
    pub(crate) fn need(&self, number: usize, block: &Block) -> Need {
        let carry = |step: &Step| step.survey.consumes && step.survey.needs & CARRY != 0;
        match self.replaced[number] {
            _ if block.live == 0 => Need::No,
            Some(replaced) => Need::Name(replaced),
            None => Need::All {
                carry: block.steps.iter().find(|s| s.survey.consumes || s.survey.defines != 0).is_some_and(carry),
            },
        }
    }
}
