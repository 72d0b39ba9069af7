//! Schedules of calls, faults and forgeries, decoded from bytes.

use crate::testing::sequence::Schedule;

/// Decodes a schedule ([`Schedule::from_bytes`]) and plays it to its end. It is printed if it fails.
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
