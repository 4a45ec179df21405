//! The machine of a run.

use serde_json::{Value, json};

/// What a reader needs to compare two reports.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MachineInfo {
    /// Name of the processor.
    pub cpu: String,
    /// Cores that this process may use.
    pub threads: usize,
    pub memory_gib: f64,
    /// Load average over one minute at the start; above 0, other programs use the machine.
    pub load: f64,
    /// Instruction sets that matter for networks.
    pub instruction_sets: Vec<&'static str>,
}

impl MachineInfo {
    /// Reads what Linux reports. Elsewhere, most fields stay empty.
    pub fn read() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let mut info = Self::parse(
            &read("/proc/cpuinfo"),
            &read("/proc/meminfo"),
            &read("/proc/loadavg"),
        );
        info.threads = std::thread::available_parallelism().map_or(1, usize::from);
        info
    }

    fn parse(cpuinfo: &str, meminfo: &str, loadavg: &str) -> Self {
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            let (_, value) = line.split_once(':')?;
            Some(value.trim().to_owned())
        };
        let flags = field(cpuinfo, "flags").unwrap_or_default();
        let kilobytes = field(meminfo, "MemTotal").unwrap_or_default();
        let kilobytes = kilobytes
            .split(' ')
            .next()
            .and_then(|text| text.parse().ok());
        let sets = ["avx2", "avx512f", "avx512_bf16", "amx_bf16"];
        Self {
            cpu: field(cpuinfo, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            threads: 0,
            memory_gib: kilobytes.unwrap_or(0.0) / f64::from(1 << 20),
            load: loadavg
                .split(' ')
                .next()
                .and_then(|text| text.parse().ok())
                .unwrap_or(0.0),
            instruction_sets: sets
                .into_iter()
                .filter(|set| flags.split(' ').any(|flag| flag == *set))
                .collect(),
        }
    }

    pub fn describe(&self) -> String {
        let sets = self.instruction_sets.join(", ");
        format!(
            "{}, {} threads, {:.0} GiB, {}, load {:.2}",
            self.cpu,
            self.threads,
            self.memory_gib,
            if sets.is_empty() { "no AVX" } else { &sets },
            self.load
        )
    }

    pub fn to_json(&self) -> Value {
        json!({
            "cpu": self.cpu,
            "threads": self.threads,
            "memory_gib": self.memory_gib,
            "load": self.load,
            "instruction_sets": self.instruction_sets,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_files_are_parsed() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A <CPU>\nflags\t\t: fpu avx2 avx512f\n";
        let info = MachineInfo::parse(
            cpuinfo,
            "MemTotal:       16777216 kB\n",
            "1.25 0.5 0.1 1/2 3",
        );
        assert_eq!(info.cpu, "A <CPU>");
        assert_eq!(info.memory_gib, 16.0);
        assert_eq!(info.load, 1.25);
        assert_eq!(info.instruction_sets, ["avx2", "avx512f"]);
        assert_eq!(MachineInfo::parse("", "", "").load, 0.0);
    }
}
