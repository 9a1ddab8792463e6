//! Any bytes as a packet of the control socket: a message or an error, and a message that is read is written the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mlos_shm::control::{ClientMessage, ControlMessage, DaemonMessage};

fn check<M: ControlMessage + PartialEq + std::fmt::Debug>(packet: &[u8]) {
    for fds in [0, 4] {
        if let Ok(message) = M::decode(packet, fds)
            // An archive may say one thing in fewer bytes than we do.
            && let Ok(again) = message.encode()
        {
            assert_eq!(M::decode(&again, fds).expect("it was just written"), message);
        }
    }
}

fuzz_target!(|packet: &[u8]| {
    check::<ClientMessage>(packet);
    check::<DaemonMessage>(packet);
});
