use super::*;
use crate::load::ranking::TAILS_MIN;
use crate::load::ranking::fixtures::*;

#[test]
fn no_sentence_depends_on_a_doubtful_number() {
    let mut measured = measured(
        "cpu-paced",
        &[(POOL, &[(10, 1.0), (100, 1.0), (1_000, 9.0)]), (THREADS, &[(100, 5.0)])],
    );
    let growth = |measured: &MeasuredMetric| measured.growth_sentence(TAILS_MIN);
    assert!(
        growth(&measured)
            .unwrap()
            .starts_with("Growth: pool from 10 to 1,000 connections grows to 9 times")
    );
    measured.curves[0].points[1].doubt = Some("it stood still".into());
    measured.curves[0].points[2].doubt = Some("only 40 % of the pace was kept".into());
    assert_eq!(growth(&measured), None);
    assert_eq!(measured.winner_sentence(), None);
    let (metrics, models) = ([measured], [POOL, THREADS]);
    let decision = Decision::new(&metrics, &models).unwrap();
    assert_eq!((decision.size, &decision.verdict(100).choose[..]), (100, "unknown"));
    let cells = decision.cells(&metrics[0], 100);
    assert_eq!(cells[0].1, Cell::Doubtful("1 (0.95–1.05)".into(), "it stood still".into()));
}

#[test]
fn every_size_has_a_verdict() {
    let metrics = [
        measured("memory", &[(POOL, &[(100, 1.0), (900, 1.0)]), (PROCESS, &[(100, 9.0)])]),
        measured("memory-private", &[(POOL, &[(100, 9.0)]), (PROCESS, &[(100, 1.0)])]),
        measured("storm", &[(POOL, &[(10, 2.0), (100, 4.0)]), (PROCESS, &[(10, 2.0), (100, 1.0)])]),
        measured(
            "deliveries-room",
            &[(POOL, &[(10, 1.0), (100, 1.0)]), (PROCESS, &[(10, 1.0), (100, 1.0)])],
        ),
    ];
    let models = [POOL, PROCESS];
    let decision = Decision::new(&metrics, &models).unwrap();
    let verdicts = decision.verdicts();
    assert_eq!(
        verdicts.iter().map(|verdict| (verdict.size, &verdict.choose[..])).collect::<Vec<_>>(),
        [(10, "any model"), (100, "pool"), (900, "pool")]
    );
    assert_eq!(
        verdicts[0].why,
        "The models do not differ by more than the spread in any of 2 goals."
    );
    assert_eq!(
        verdicts[1].why,
        "Pool is the best, or as good as the best, in 2 of 3 goals; in one goal the models do \
         not differ by more than the spread."
    );
    assert!(
        verdicts[2].why.ends_with("Not measured with 900 connections: process."),
        "{}",
        verdicts[2].why
    );
    let memory = decision.cells(&metrics[0], 100);
    assert_eq!(memory[0].1, Cell::Measured("1 (0.95–1.05)".into(), "best".into()));
    assert_eq!(memory[1].1, Cell::Measured("9 (8.55–9.45)".into(), "9 times pool's".into()));
    assert_eq!(
        decision.cells(&metrics[0], 900)[1].1,
        Cell::Missing(Some("9 KiB with 100 connections".into()))
    );
    assert_eq!(
        decision.cells(&metrics[3], 100)[0].1,
        Cell::Measured("1 (0.95–1.05)".into(), String::new())
    );
    assert_eq!(decision.of_model(PROCESS).1[0], "memory for each connection (9 times pool's)");
    assert_eq!(decision.of_model(POOL).0.len(), 2);
    let other = [measured("storm", &[(Subject::Compared, &[(100, 2.0)])])];
    assert_eq!(
        decision.beside(Subject::Compared, &other),
        ["connections accepted per second when all connect at once: 50 % of pool's"]
    );
}

#[test]
fn any_model_is_recommended_if_a_lively_chat_takes_almost_nothing() {
    let verdict = |cpu: f64, p99: f64, size: usize| {
        let metrics = [
            measured("cpu-paced", &[(POOL, &[(size, 10.0)]), (PROCESS, &[(size, cpu)])]),
            measured("p99", &[(POOL, &[(size, 0.4)]), (PROCESS, &[(size, p99)])]),
        ];
        let models = [POOL, PROCESS];
        Decision::new(&metrics, &models).unwrap().verdict(size)
    };
    let small = verdict(34.0, 0.4, 10);
    assert_eq!(small.choose, "any model");
    assert!(
        small.why.contains("at most about 0.0306 % of one CPU")
            && small.why.contains("within 0.4 ms"),
        "{}",
        small.why
    );
    assert!(
        small
            .why
            .contains("At higher loads pool is the best, or as good as the best, in 1 of 2 goals"),
        "{}",
        small.why
    );
    assert_eq!(verdict(130.0, 0.4, 1_000).choose, "pool", "12 % of a core");
    assert_eq!(verdict(34.0, 50.0, 10).choose, "pool", "people notice that");
}

#[test]
fn a_pace_that_was_not_kept_is_still_enough_for_a_lively_chat() {
    let mut metrics = [
        measured("cpu-paced", &[(POOL, &[(10, 10.0)]), (PROCESS, &[(10, 30.0)])]),
        measured("p99", &[(POOL, &[(10, 0.4)]), (PROCESS, &[(10, 0.9)])]),
    ];
    for curve in metrics.iter_mut().flat_map(|measured| &mut measured.curves) {
        curve.points[0].doubt = Some("only 94 % of the pace was kept".into());
    }
    let models = [POOL, PROCESS];
    let verdict = Decision::new(&metrics, &models).unwrap().verdict(10);
    assert!(
        verdict.choose == "any model" && verdict.why.ends_with("within 0.9 ms."),
        "{verdict:?}"
    );
}

#[test]
fn the_cost_of_a_kill_is_stated_for_all_models_together() {
    let metrics = [
        measured("storm", &[(POOL, &[(100, 4.0)]), (PROCESS, &[(100, 1.0)])]),
        measured("kill-share", &[(POOL, &[(100, 50.0)]), (PROCESS, &[(100, 1.0)])]),
        measured("kill-wait", &[(POOL, &[(100, 12.0)]), (PROCESS, &[(100, 9.0)])]),
    ];
    let models = [POOL, PROCESS];
    let kill = Decision::new(&metrics, &models).unwrap().kill().unwrap();
    assert!(
        kill.ends_with(
            "in pool 50 of 100 clients for 12 ms, in process 1 of 100 clients for 9 ms."
        ),
        "{kill}"
    );
    assert_eq!(Decision::new(&metrics[..1], &models).unwrap().kill(), None);
}
