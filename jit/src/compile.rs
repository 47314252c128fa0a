//! From regions to code in memory: the part that may run on a thread of its own.

use crate::context::{Op, Pool};
use crate::dump::DumpSettings;
use crate::emit::{Emitter, tail_signature};
use crate::memory::{Arena, SEGMENT, Segment, Writing};
use crate::region::Region;
use cpu::core::Env;
use cpu::state::CpuState;
use cranelift_codegen::Context;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{AbiParam, InstBuilder, MemFlagsData, Signature};
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::Module;
use std::mem::offset_of;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A region with all that its code refers to.
pub(crate) struct Unit {
    pub(crate) region: Region,
    pub(crate) ops: Vec<Vec<Op>>,
    /// Addresses of its exits.
    pub(crate) slots: Vec<usize>,
    /// Addresses of the validity words of its pages.
    pub(crate) cells: Vec<usize>,
    /// Numbers that kinds of flags refer to.
    pub(crate) pool: Pool,
}

/// Code that is ready.
pub(crate) struct Ready {
    pub(crate) id: u32,
    /// Where it can be called, and with which number, for each entry; `None` when it could not be
    /// translated.
    pub(crate) code: Option<Vec<(usize, u64)>>,
    pub(crate) bytes: usize,
    pub(crate) segment: usize,
    /// Segments that hold nothing.
    pub(crate) free: usize,
    pub(crate) time: Duration,
}

/// Why there can be no translator on this host.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The host gives no memory for code.
    #[error("memory for code: {0}")]
    Memory(#[from] std::io::Error),
    /// The code generator refuses.
    #[error("code generator: {0}")]
    Generator(String),
}

/// Translates regions into the segments of an arena.
pub(crate) struct Compiler {
    arena: Arc<Arena>,
    isa: Isa,
    module: Option<JITModule>,
    segment: usize,
    used: usize,
    free: Vec<usize>,
    context: Context,
    builder: FunctionBuilderContext,
    /// A folder for what is made, for people to look at.
    dump: Option<DumpSettings>,
}

type Isa = std::sync::Arc<dyn cranelift_codegen::isa::TargetIsa>;

fn isa() -> Result<OwnedTargetIsa, StartError> {
    let error = |e: &dyn std::fmt::Display| StartError::Generator(e.to_string());
    let mut flags = settings::builder();
    for (name, value) in [
        // The front end has done what an optimiser would: registers are values, dead flags are gone.
        ("opt_level", "none"),
        ("regalloc_algorithm", "backtracking"),
        ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
        ("is_pic", "false"),
        ("unwind_info", "false"),
        ("enable_probestack", "false"),
        ("preserve_frame_pointers", "true"),
        ("enable_table_access_spectre_mitigation", "false"),
        ("enable_heap_access_spectre_mitigation", "false"),
        ("machine_code_cfg_info", "false"),
    ] {
        flags.set(name, value).map_err(|e| error(&e))?;
    }
    let builder = cranelift_native::builder().map_err(|e| error(&e))?;
    builder.finish(settings::Flags::new(flags)).map_err(|e| error(&e))
}

/// The two pieces of code that are no region.
pub(crate) struct Glue {
    /// Enters native code: words, processor, number of the entry, budget, code.
    pub(crate) enter: usize,
    /// Stands in an exit that leads to no other region.
    pub(crate) unlinked: usize,
}

impl Compiler {
    pub(crate) fn new(arena: Arc<Arena>, dump: Option<DumpSettings>) -> Result<Compiler, StartError> {
        let free = (0..arena.segments()).rev().collect();
        Ok(Compiler {
            isa: isa()?,
            arena,
            module: None,
            segment: 0,
            used: SEGMENT,
            free,
            context: Context::new(),
            builder: FunctionBuilderContext::new(),
            dump,
        })
    }
    /// A segment holds nothing any more.
    pub(crate) fn release(&mut self, segment: usize) {
        self.free.push(segment);
    }
    /// The pieces of code that are no region; they stay in a segment that is never released.
    pub(crate) fn glue(&mut self) -> Result<Glue, StartError> {
        let generator = |e: String| StartError::Generator(e);
        let none = || StartError::Generator("no memory".into());
        let mut signature = Signature::new(self.isa.default_call_conv());
        for _ in 0..5 {
            signature.params.push(AbiParam::new(I64));
        }
        signature.returns.push(AbiParam::new(I64));
        self.context.clear();
        self.context.func.signature = signature;
        {
            let mut b = FunctionBuilder::new(&mut self.context.func, &mut self.builder);
            let block = b.create_block();
            b.append_block_params_for_function_params(block);
            b.switch_to_block(block);
            let p = b.block_params(block).to_vec();
            let tail = b.import_signature(tail_signature());
            let call = b.ins().call_indirect(tail, p[4], &p[..4]);
            let result = b.inst_results(call)[0];
            b.ins().return_(&[result]);
            b.seal_all_blocks();
            b.finalize(self.isa.frontend_config());
        }
        let enter = self.define().map_err(generator)?.ok_or_else(none)?.0;
        self.context.clear();
        self.context.func.signature = tail_signature();
        {
            let mut b = FunctionBuilder::new(&mut self.context.func, &mut self.builder);
            let block = b.create_block();
            b.append_block_params_for_function_params(block);
            b.switch_to_block(block);
            let p = b.block_params(block).to_vec();
            let ip = b.ins().load(I64, MemFlagsData::trusted(), p[2], crate::context::SLOT_IP as i32);
            b.ins().store(MemFlagsData::trusted(), ip, p[1], offset_of!(CpuState, rip) as i32);
            b.ins().store(MemFlagsData::trusted(), p[2], p[0], crate::context::EXIT as i32);
            let env = b.ins().load(I64, MemFlagsData::trusted(), p[0], crate::context::ENV as i32);
            let at = offset_of!(Env<'static>, remaining) as i32;
            b.ins().store(MemFlagsData::trusted(), p[3], env, at);
            let how = b.ins().iconst(I64, crate::context::INDIRECT as i64);
            b.ins().return_(&[how]);
            b.seal_all_blocks();
            b.finalize(self.isa.frontend_config());
        }
        let unlinked = self.define().map_err(generator)?.ok_or_else(none)?.0;
        // What comes next begins a segment of its own.
        self.used = SEGMENT;
        Ok(Glue { enter, unlinked })
    }
    /// Translates.
    pub(crate) fn compile(&mut self, id: u32, unit: &Unit) -> Ready {
        let start = Instant::now();
        self.context.clear();
        Emitter::emit(&mut self.context.func, &mut self.builder, unit, self.isa.frontend_config());
        self.context.set_disasm(self.dump.is_some());
        let text = self.dump.is_some().then(|| self.context.func.display().to_string());
        let (code, bytes) = match self.define() {
            Ok(Some((code, bytes))) => (Some(code), bytes),
            _ => (None, 0),
        };
        if let (Some(text), Some(code)) = (text, code) {
            self.write_down(unit, code, bytes, &text);
        }
        let code = code.map(|code| (0..unit.region.entries.len() as u64).map(|n| (code, n)).collect());
        Ready { id, code, bytes, segment: self.segment, free: self.free.len(), time: start.elapsed() }
    }
    /// Writes a region down: the guest's instructions, the intermediate representation, the host's
    /// instructions. What cannot be written is no loss.
    #[cold]
    fn write_down(&self, unit: &Unit, code: usize, bytes: usize, representation: &str) {
        use std::fmt::Write as _;
        let Some(dump) = &self.dump else { return };
        let place = &unit.region.place;
        let steps = unit.region.blocks.iter().flat_map(|block| &block.steps);
        if !dump.wants(steps.map(|s| (s.insn.ip.wrapping_add(place.base) & 0xffff_ffff, u64::from(s.insn.len)))) {
            return;
        }
        let mut text = String::new();
        let _ = writeln!(text, "region {:x}:{:x}, host code {code:x}, {bytes} bytes\n", place.base, place.ip);
        for (n, block) in unit.region.blocks.iter().enumerate() {
            let entry = if block.is_entry { ", entry" } else { "" };
            let _ = writeln!(text, "block {n}{entry}: taken {:?}, else {:?}", block.taken, block.fall);
            for step in &block.steps {
                let i = &step.insn;
                let m = &i.mem;
                let _ = writeln!(
                    text,
                    "  {:08x}  {:?}  imm {:x} mem {:?}:[{}+{}<<{}+{:x}]",
                    i.ip, i.code, i.imm, m.seg, m.base, m.index, m.shift, m.disp
                );
            }
        }
        let host = self.context.compiled_code().and_then(|c| c.vcode.clone()).unwrap_or_default();
        let _ = writeln!(text, "\n{representation}\n{host}");
        dump.write(place, code, &text);
    }
    /// Gives the function at hand its place in memory. `None`: there is no place.
    fn define(&mut self) -> Result<Option<(usize, usize)>, String> {
        // Room for the largest region: 400 instructions of a few dozen host instructions each.
        if self.used + SEGMENT / 4 > SEGMENT {
            let Some(segment) = self.free.pop() else { return Ok(None) };
            let mut builder = JITBuilder::with_isa(self.isa.clone(), cranelift_module::default_libcall_names());
            builder.memory_provider(Box::new(Segment::new(self.arena.clone(), segment)));
            self.module = Some(JITModule::new(builder));
            (self.segment, self.used) = (segment, 0);
        }
        let Some(module) = &mut self.module else { return Ok(None) };
        let writing = Writing::new();
        let id = module.declare_anonymous_function(&self.context.func.signature).map_err(|e| e.to_string())?;
        module.define_function(id, &mut self.context).map_err(|e| format!("{e:?}"))?;
        module.finalize_definitions().map_err(|e| e.to_string())?;
        let bytes = self.context.compiled_code().map_or(0, |c| c.code_buffer().len());
        self.used += bytes.next_multiple_of(32) + 32;
        drop(writing);
        let at = self.arena.publish(module.get_finalized_function(id), bytes);
        Ok(Some((at as usize, bytes)))
    }
}
