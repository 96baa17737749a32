use super::*;

fn report(results: [Result<(), &str>; 3], replaced: &[&'static str]) -> String {
    let checks = CHECKS
        .into_iter()
        .filter(|check| ["input position", "low-water mark", "robust mutex"].contains(&check.name));
    let results =
        checks.zip(results).map(|(check, result)| (check, result.map_err(str::to_owned))).collect();
    Report { kernel: "Linux 2.6.18".into(), results, replaced: replaced.to_vec() }.to_string()
}

#[test]
fn a_report_is_a_table_of_checks_and_guarantees() {
    let failure = expect("bytes taken of 10 after 3 were read", 4, 3).unwrap_err();
    let expected = "\
Linux 2.6.18

FAIL input position: bytes taken of 10 after 3 were read: 4, not 3; without it: after a worker's death a line may be lost or said twice
ok   low-water mark       SO_RCVLOWAT holds back readiness until there is enough, or the end
ok   robust mutex         the lock of a killed process goes to the next, who is told

2 of 3 checks hold
guaranteed here:     the server's processes start, and clients are served
NOT guaranteed here: a worker's death closes no connection; no byte of it is lost and none comes twice
guaranteed here:     an unfinished line costs no CPU time
guaranteed here:     a death at any moment leaves the log whole and its lock free
guaranteed here:     no process outlives the supervisor
refused here, and done without: clone3, close_range
";
    assert_eq!(report([Err(&failure), Ok(()), Ok(())], &["clone3", "close_range"]), expected);
    let all = report([Ok(()), Ok(()), Ok(())], &[]);
    assert!(!all.contains("NOT") && !all.contains("refused"), "{all}");
}

#[test]
fn a_warning_names_the_check_the_failure_and_its_consequence() {
    let low_water = CHECKS.iter().find(|check| check.name == "low-water mark").unwrap();
    let failure =
        wait_until(Instant::now(), "2 more bytes to make it readable", || false).unwrap_err();
    let expected = "cannot rely on low-water mark: waited in vain for 2 more bytes to make it \
                    readable; without it an unfinished line costs CPU time, or stays unheard; \
                    forkchat-server doctor shows more";
    assert_eq!(warning(low_water, &failure), expected);
}

#[test]
fn checks_without_a_fork_hold_here_and_every_guarantee_has_a_check() {
    assert_eq!((quick(), needed()), (Vec::new(), Ok(())));
    assert!(
        Guarantee::ALL
            .iter()
            .all(|guarantee| CHECKS.iter().any(|check| check.guarantees.contains(guarantee)))
    );
}

#[test]
fn a_check_with_children_fails_in_a_process_with_threads() {
    let failure = processes::robust_mutex(Instant::now() + DEADLINE).unwrap_err();
    assert!(failure.starts_with("cannot fork: "), "{failure}");
}
