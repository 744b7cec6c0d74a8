use aya::{
    EbpfLoader,
    maps::{Array, HashMap},
    programs::{SchedClassifier, TestRun as _, TestRunOptions},
};
use entropy_common::{
    chance::{Probability, correlated::Chance},
    decide::decide,
    fault::{
        corrupt::Corrupt,
        delay::{Delay, table::Distribution},
        duplicate::Duplicate,
        loss::Loss,
        rate::Link,
        reorder::Reorder,
    },
    host::Host,
    lease::Lease,
    packet::Packet,
    rule::*,
    stats::RuleState,
};
fn p(x: f64) -> Probability {
    Probability::from_parts((x * 4294967296.0) as u64).unwrap()
}
fn main() {
    let mut ebpf = EbpfLoader::new()
        .load_file(std::env::args().nth(1).unwrap())
        .unwrap();
    {
        let pr: &mut SchedClassifier = ebpf
            .program_mut("entropy_from")
            .unwrap()
            .try_into()
            .unwrap();
        pr.load().unwrap();
    }
    let key = HookKey::new(1, Direction::Egress);
    let c = |r| Chance {
        rate: p(r),
        correlation: p(0.5),
    };
    let base = |id: u32| Rule {
        id,
        seed: 77 + id as u64,
        ..Rule::NONE
    };
    let rules = vec![
        Rule {
            loss: Loss::bursts(p(0.1), 3000).unwrap(),
            ..base(1)
        },
        Rule {
            loss: Loss::markov([0.1, 0.3, 0.2, 0.4, 0.05].map(p)).unwrap(),
            ..base(2)
        },
        Rule {
            loss: Loss::correlated(p(0.1), p(0.5)),
            ..base(3)
        },
        Rule {
            loss: Loss::netem(p(0.1), p(0.25)),
            ..base(4)
        },
        Rule {
            loss: Loss::nth(7, 3).unwrap(),
            ..base(5)
        },
        Rule {
            loss: Loss::pattern(0b1011, 9).unwrap(),
            ..base(6)
        },
        Rule {
            duplicate: Duplicate { chance: c(0.2) },
            corrupt: Corrupt {
                chance: c(0.1),
                silent: 1,
            },
            ..base(7)
        },
        Rule {
            delay: Delay {
                correlation: p(0.4),
                ..Delay::distributed(50_000_000, 10_000_000, 1).unwrap()
            },
            ..base(8)
        },
        Rule {
            delay: Delay::uniform(5_000_000, 5_000_000).unwrap(),
            reorder: Reorder {
                chance: c(0.2),
                gap: 3,
                ..Reorder::NONE
            },
            ..base(9)
        },
        Rule {
            delay: Delay::distributed(90_000_000, 30_000_000, 2).unwrap(),
            matcher: Match {
                flow_share: p(0.5),
                flow_seed: 3,
                tcp_mask: 0x10,
                tcp_value: 0x10,
                payload: WITH_PAYLOAD,
                remote_first: 80,
                remote_last: 90,
                ..Match::ALL
            },
            ..base(10)
        },
        Rule {
            rate: Link::new(1_250_000_000, 0).rate().unwrap(),
            delay: Delay {
                keep_order: 1,
                ..Delay::distributed(9_000_000, 3_000_000, 0).unwrap()
            },
            ..base(11)
        },
    ];
    HashMap::<_, HookKey, Hook>::try_from(ebpf.map_mut("ENTROPY_HOOKS").unwrap())
        .unwrap()
        .insert(key, Hook { set: 9 }, 0)
        .unwrap();
    let set = RuleSet::new(key, &rules).unwrap();
    HashMap::<_, u32, RuleSet>::try_from(ebpf.map_mut("ENTROPY_RULES").unwrap())
        .unwrap()
        .insert(9, set, 0)
        .unwrap();
    for r in &rules {
        HashMap::<_, u32, RuleState>::try_from(ebpf.map_mut("ENTROPY_STATE").unwrap())
            .unwrap()
            .insert(r.id, RuleState::ZERO, 0)
            .unwrap();
    }
    Array::<_, Lease>::try_from(ebpf.map_mut("ENTROPY_LEASE").unwrap())
        .unwrap()
        .set(0, Lease { until_ns: u64::MAX }, 0)
        .unwrap();
    let mut tables =
        Array::<_, [i32; 4096]>::try_from(ebpf.map_mut("ENTROPY_TABLES").unwrap()).unwrap();
    for (n, d) in Distribution::ALL.into_iter().enumerate() {
        tables
            .set(
                n as u32,
                <[i32; 4096]>::try_from(d.table().entries()).unwrap(),
                0,
            )
            .unwrap();
    }
    let host = Host::new(&rules, &[]).with_distributions();
    let (mut lost, mut differ) = (0, 0);
    let n: u32 = std::env::args().nth(2).unwrap().parse().unwrap();
    let pr: &mut SchedClassifier = ebpf
        .program_mut("entropy_from")
        .unwrap()
        .try_into()
        .unwrap();
    for i in 0..n {
        let mut f = vec![
            2,
            0,
            0,
            0,
            0,
            1,
            2,
            0,
            0,
            0,
            0,
            2,
            8,
            0,
            0x45,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            64,
            6,
            0,
            0,
            10,
            0,
            0,
            1,
            10,
            0,
            0,
            (i % 5) as u8,
        ];
        f.extend([
            (i % 200) as u8,
            5,
            0,
            (i % 100) as u8,
            0,
            0,
            0,
            1,
            0,
            0,
            0,
            2,
            0x50,
            if i % 4 == 0 { 2 } else { 16 },
            1,
            0,
            0,
            0,
            0,
            0,
        ]);
        f.resize(54 + (i as usize % 3) * 100, 1);
        let total = (f.len() - 14) as u16;
        f[16..18].copy_from_slice(&total.to_be_bytes());
        let mut out = [0; 2048];
        let r = pr
            .test_run(TestRunOptions {
                data_in: Some(&f),
                data_out: Some(&mut out),
                ..TestRunOptions::new()
            })
            .unwrap()
            .return_value as i32;
        let mut packet = Packet::parse(&f[..]).unwrap();
        packet.segments = 1;
        let v = decide(&set, Direction::Egress, &packet, i as u64 * 100_000, &host);
        lost += u32::from(v.lost);
        if v.lost != (r == 2) {
            differ += 1;
            if differ < 5 {
                println!("packet {i}: kernel {r}, host {v:?}");
            }
        }
    }
    println!("{n} packets, {lost} lost, {differ} verdicts differ");
    let map = HashMap::<_, u32, RuleState>::try_from(ebpf.map("ENTROPY_STATE").unwrap()).unwrap();
    for r in &rules {
        let (mut k, mut h) = (map.get(&r.id, 0).unwrap(), host.state(r.id));
        // The clock and what follows from it are not the same.
        if r.id == 11 {
            for s in [&mut k, &mut h] {
                s.memory.words[2] = 0;
                s.memory.words[6] = 0;
                s.delays = [0; 32];
            }
        }
        println!(
            "rule {}: {} (matched {} lost {} delayed {} reordered {} dup {} corrupt {} shaped {})",
            r.id,
            if k == h { "equal" } else { "DIFFERENT" },
            k.matched,
            k.lost,
            k.delayed,
            k.reordered,
            k.duplicated,
            k.corrupted,
            k.shaped
        );
        if k != h {
            println!("  kernel {k:?}\n  host {h:?}");
        }
    }
}
