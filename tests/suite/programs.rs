//! The kernel takes the programs, and runs them as the tests believe it does.

use anyhow::Result;
use entropy_common::{
    fault::partition::Partition,
    names,
    rule::{Direction, HookKey, Rule},
};
use entropy_tests::{
    needs_root,
    netns::Netns,
    object::{LOOPBACK, Object, Skb},
};

use crate::rules::{LOST, PASS, udp};

#[test]
fn every_program_loads_and_says_what_it_cost_the_verifier() -> Result<()> {
    needs_root!();
    let object = Object::load()?;
    for name in names::PROGRAMS {
        let count = object.program(name)?.verified_instructions()?;
        println!("{name}: {count} instructions verified");
        // The verifier's limit for privileged programs (BPF_COMPLEXITY_LIMIT_INSNS, linux/bpf.h); a
        // fifth of it leaves room for the faults to come.
        assert!(count <= 200_000, "{name}: {count} instructions verified");
    }
    Ok(())
}

/// A rule belongs to an interface: the same packet on another one passes, and is not counted.
#[test]
fn a_hook_is_found_by_the_interface_that_the_packet_is_on() -> Result<()> {
    needs_root!();
    let namespace = Netns::new("programs")?;
    namespace.veth("one", &namespace, "two")?;
    let (one, two) = (namespace.index("one")?, namespace.index("two")?);
    let mut object = Object::load()?;
    for direction in Direction::ALL {
        let rule = Rule { id: 5, partition: Partition::CUT, ..Rule::NONE };
        object.set_rules(HookKey::new(one, direction), &[rule])?;
        let verdicts = namespace.run(|| {
            let program = object.hook(direction)?;
            [one, two, LOOPBACK]
                .map(|ifindex| program.repeat(&udp(), Skb { ifindex, ingress_ifindex: 7 }, 1))
                .into_iter()
                .collect::<Result<Vec<i32>>>()
        })??;
        assert_eq!(verdicts, [LOST, PASS, PASS], "{direction:?}");
        assert_eq!(object.state(5)?.seen, 1, "{direction:?}");
    }
    Ok(())
}
