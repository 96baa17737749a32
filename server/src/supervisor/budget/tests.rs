use super::*;
use crate::models::named;
use crate::options::ModelName::{self, Pool, Process};
use clap::ValueEnum;

const GROUP: &str = "the control group's memory limit";

fn wanted(model: ModelName) -> Wanted {
    let model = named(model);
    Wanted {
        takes: model.takes,
        placement: model.placement,
        workers: 2,
        ring: None,
        connections: None,
        allowed: 60_000,
        sendq: 1 << 20,
        udp: true,
        snapshot_bytes: |connections| connections * KIB + 40 * MIB,
    }
}

fn limit(what: Limited, bytes: u64) -> Limit {
    Limit { what, bytes, name: GROUP }
}

fn within(bytes: u64, wanted: &Wanted) -> Result<Budget, TooLittleMemory> {
    budget(&[limit(Limited::All, bytes)], wanted)
}

#[test]
fn with_little_memory_the_ring_is_smaller_and_the_connections_are_fewer() {
    let large = within(64 * 1024 * MIB, &wanted(Pool)).unwrap();
    assert_eq!(
        (large.ring, large.ring_bound, large.connections, large.bound),
        (64 << 20, None, 60_000, None)
    );
    let mut before = large;
    for mib in [1_024, 512, 256, 128, 64, 48] {
        let small = within(mib * MIB, &wanted(Pool)).unwrap();
        assert!(
            small.ring <= before.ring && small.connections < before.connections,
            "{mib} MiB: {small:?}"
        );
        assert!(
            small.connections >= CONNECTIONS_MIN && small.bound == Some(GROUP),
            "{mib} MiB: {small:?}"
        );
        assert!(small.ring == 64 << 20 || small.ring_bound == Some(GROUP), "{mib} MiB: {small:?}");
        before = small;
    }
    assert_eq!(within(64 * MIB, &wanted(Pool)).unwrap().ring, 4 << 20);
}

#[test]
fn the_admitted_connections_fit_and_one_more_does_not() {
    for &model in ModelName::value_variants() {
        for mib in [96, 300, 2_048, 20_000] {
            let wanted = wanted(model);
            let Budget { ring, connections, bound: Some(_), .. } =
                within(mib * MIB, &wanted).unwrap()
            else {
                continue;
            };
            let whole = usable(&limit(Limited::All, mib * MIB), Case::Careful);
            let plan = |connections| Plan {
                wanted: &wanted,
                whole,
                ring: ring as u64,
                connections,
                case: Case::Careful,
            };
            assert!(plan(connections).needs(Limited::All) <= whole, "{} {mib}", model);
            assert!(plan(connections + 1).needs(Limited::All) > whole, "{} {mib}", model);
        }
    }
}

#[test]
fn clients_that_never_read_are_counted_with_full_socket_buffers_in_every_model() {
    for &model in ModelName::value_variants() {
        let Budget { connections, .. } = within(2_048 * MIB, &wanted(model)).unwrap();
        assert!(
            connections > 100 && connections * TCP_KERNEL_BYTES < 2_048 * MIB,
            "{}: {connections}",
            model
        );
    }
}

#[test]
fn in_model_process_the_state_is_counted_once_per_process() {
    let connections = |mib: u64| within(mib * MIB, &wanted(Process)).unwrap().connections;
    let (one, four) = (connections(4 * 1_024), connections(16 * 1_024));
    assert!(one > 300 && four < 3 * one, "{one} with 4 GiB, {four} with 16 GiB");
    let pool = within(4 * 1_024 * MIB, &wanted(Pool)).unwrap().connections;
    assert!(pool > 10 * one, "{pool} in a pool");
}

#[test]
fn too_little_memory_is_refused_with_the_amount_that_would_be_enough() {
    let refused = within(16 * MIB, &wanted(Pool)).unwrap_err();
    assert_eq!(
        (refused.ring, refused.connections, refused.allows),
        (1 << 20, CONNECTIONS_MIN, 16 * MIB)
    );
    assert!(within(refused.needs - MIB, &wanted(Pool)).is_err());
    within(refused.needs, &wanted(Pool)).unwrap();
    let text = refused.to_string();
    assert!(
        text.starts_with(
            "cannot serve 8 connections with a ring of 1 MiB: the control group's memory limit \
             allows 16 MiB, and they need "
        ) && text.ends_with("; raise it, or lower --max-connections or --ring"),
        "{text}"
    );
}

#[test]
fn requested_sizes_are_granted_or_refused_but_never_reduced() {
    let ring = Wanted { ring: Some(32 << 20), ..wanted(Pool) };
    assert_eq!(within(128 * MIB, &ring).unwrap().ring, 32 << 20);
    let refused = within(64 * MIB, &ring).unwrap_err();
    assert_eq!((refused.ring, refused.connections), (32 << 20, CONNECTIONS_MIN));
    let many = Wanted { connections: Some(1_000), ..wanted(Pool) };
    assert_eq!(within(768 * MIB, &many).unwrap().connections, 1_000);
    assert_eq!(within(64 * MIB, &many).unwrap_err().connections, 1_000);
    // If connections were asked for, the server chooses a smaller ring before it refuses.
    let some = Wanted { connections: Some(64), ..wanted(Pool) };
    let Budget { ring, connections, .. } = within(64 * MIB, &some).unwrap();
    assert_eq!((ring, connections), (4 << 20, 64));
    let few = Wanted { connections: Some(2), ..wanted(Pool) };
    assert_eq!(within(64 * MIB, &few).unwrap().connections, 2);
}

#[test]
fn a_limit_on_address_space_or_private_memory_bounds_each_process() {
    let all = limit(Limited::All, 16 * 1_024 * MIB);
    let address_space = |mib: u64| {
        budget(
            &[all, Limit { name: "ulimit -v", ..limit(Limited::AddressSpace, mib * MIB) }],
            &wanted(Pool),
        )
    };
    assert_eq!(address_space(128).unwrap_err().limit, "ulimit -v");
    let Budget { ring, ring_bound, connections, bound, .. } = address_space(1_024).unwrap();
    assert_eq!((ring_bound.is_some(), bound), (ring < 64 << 20, Some("ulimit -v")));
    assert!(connections > 100, "{connections}");
    assert_eq!(
        budget(&[all, limit(Limited::Data, 8 * MIB)], &wanted(Pool)).unwrap_err().allows,
        8 * MIB
    );
    budget(&[all, limit(Limited::Data, 256 * MIB)], &wanted(Pool)).unwrap();
}

#[test]
fn all_outboxes_together_take_their_share_and_each_worker_has_a_minimum() {
    for &model in ModelName::value_variants() {
        for mib in [96, 1_024, 16_384] {
            let wanted = wanted(model);
            let Budget { outboxes, own_outboxes, connections, .. } =
                within(mib * MIB, &wanted).unwrap();
            let own = if wanted.placement == Placement::Own { connections } else { 0 };
            let together = outboxes as u64 * wanted.workers + own_outboxes as u64 * own;
            assert!(outboxes as u64 >= OUTBOXES_BYTES_MIN, "{} {mib}: {outboxes}", model);
            assert!(
                own == 0 || own_outboxes as u64 >= OUTBOXES_BYTES_MIN,
                "{} {mib}: {own_outboxes}",
                model
            );
            assert!(
                together <= mib * MIB / OUTBOXES_SHARE + (2 + own) * OUTBOXES_BYTES_MIN,
                "{} {mib}: {together}",
                model
            );
        }
    }
}
