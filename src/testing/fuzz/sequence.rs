//! Schedules of calls, faults and forgeries, from bytes.

use crate::testing::sequence::Schedule;

/// Bytes as a schedule ([`Schedule::from_bytes`]), played to its end. What it was is printed when it fails.
pub fn sequence(data: &[u8]) {
    struct Program(Schedule);
    impl Drop for Program {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("{}", self.0);
            }
        }
    }
    let program = Program(Schedule::from_bytes(data));
    program.0.play();
}
