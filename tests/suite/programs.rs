//! The kernel takes the programs, and runs them as the tests believe it does.

mod instructions;

use anyhow::Result;
use entropy_common::{
    fault::partition::Partition,
    rule::{Direction, HookKey, Rule},
};
use entropy_tests::{
    needs_root,
    netns::Netns,
    object::{LOOPBACK, Object, Skb},
};

use crate::rules::{LOST, PASS, udp};

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
