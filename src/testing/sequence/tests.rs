use super::*;

#[test]
fn programs_are_written_and_read() {
    for seed in 0..200 {
        let schedule = Schedule::from_seed(seed);
        let program = schedule.to_string();
        assert_eq!(program.parse().as_ref(), Ok(&schedule), "{program}");
        assert_eq!(Schedule::from_bytes(&schedule.to_bytes()), schedule);
    }
    assert!("".parse::<Schedule>().is_err());
    let error = "run ms=3".parse::<Schedule>().unwrap_err();
    assert!(error.starts_with("line 1"), "{error}");
}
