//! What can go wrong on purpose.

use std::{str::FromStr, time::Duration};

/// One fault: which requests it hits, how often, and what happens to them.
#[derive(Clone, Debug)]
pub struct Fault {
    /// A request is hit if its decoded path contains this text; empty hits all.
    pub path_contains: String,
    /// How many requests are hit before the fault is spent; `u32::MAX` means always.
    pub times: u32,
    /// What happens.
    pub kind: FaultKind,
}

/// What happens to a request that a fault hits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The connection is closed after so many bytes of the body.
    CutAfter(u64),
    /// So many bytes of the body are sent, then nothing; the connection stays open until the client closes it.
    StallAfter(u64),
    /// `Content-Length` is wrong by so many bytes; the body is as it is.
    WrongLength(i64),
    /// The byte at this offset of the file is inverted on its way out.
    FlipByte(u64),
    /// The answer is this status, with an error code and a `Retry-After` in seconds if given.
    Status {
        /// HTTP status.
        code: u16,
        /// Value of `X-Error-Code`.
        error_code: Option<&'static str>,
        /// Value of `Retry-After`.
        retry_after_s: Option<u32>,
    },
    /// The body comes in pieces with a pause after each.
    Slow {
        /// Length of a piece.
        piece_bytes: u64,
        /// Pause after each.
        pause: Duration,
    },
    /// The file's `ETag` differs from what it was, as if it had been replaced.
    EtagChanged,
    /// `Range` is ignored: 200 with the whole body.
    RangeIgnored,
    /// 307 to this location.
    Redirect(String),
}

impl Fault {
    /// A fault that hits the next request whose path contains the text.
    pub fn once(path_contains: &str, kind: FaultKind) -> Fault {
        Fault::times(path_contains, 1, kind)
    }

    /// A fault that hits the next `times` requests whose path contains the text.
    pub fn times(path_contains: &str, times: u32, kind: FaultKind) -> Fault {
        Fault {
            path_contains: path_contains.to_owned(),
            times,
            kind,
        }
    }

    /// A fault that hits every request whose path contains the text.
    pub fn always(path_contains: &str, kind: FaultKind) -> Fault {
        Fault::times(path_contains, u32::MAX, kind)
    }
}

impl FaultKind {
    /// A bare status, without error code or `Retry-After`.
    pub fn status(code: u16) -> FaultKind {
        FaultKind::Status {
            code,
            error_code: None,
            retry_after_s: None,
        }
    }
}

/// A fault on the command line that could not be read.
#[derive(Debug, PartialEq, Eq)]
pub struct ParseFaultError(String);

impl std::fmt::Display for ParseFaultError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "fault '{}': expected PATH:TIMES:KIND, with KIND one of cut=N stall=N length=N flip=N status=N slow=BYTES/MS etag norange",
            self.0
        )
    }
}

impl std::error::Error for ParseFaultError {}

impl FromStr for Fault {
    type Err = ParseFaultError;

    /// Reads `PATH:TIMES:KIND`, for example `model.onnx:2:cut=1000`.
    fn from_str(text: &str) -> Result<Fault, ParseFaultError> {
        parse(text).ok_or_else(|| ParseFaultError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Fault> {
    let mut parts = text.rsplitn(3, ':');
    let (kind, times, path) = (parts.next()?, parts.next()?, parts.next()?);
    let (name, value) = kind.split_once('=').unwrap_or((kind, ""));
    let kind = match name {
        "cut" => FaultKind::CutAfter(value.parse().ok()?),
        "stall" => FaultKind::StallAfter(value.parse().ok()?),
        "length" => FaultKind::WrongLength(value.parse().ok()?),
        "flip" => FaultKind::FlipByte(value.parse().ok()?),
        "status" => FaultKind::status(value.parse().ok()?),
        "slow" => {
            let (piece, pause) = value.split_once('/')?;
            FaultKind::Slow {
                piece_bytes: piece.parse().ok()?,
                pause: Duration::from_millis(pause.parse().ok()?),
            }
        }
        "etag" => FaultKind::EtagChanged,
        "norange" => FaultKind::RangeIgnored,
        _ => return None,
    };
    Some(Fault::times(path, times.parse().ok()?, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_from_the_command_line() {
        let check = |text: &str, expect: Option<FaultKind>| {
            assert_eq!(
                text.parse::<Fault>().ok().map(|fault| fault.kind),
                expect,
                "{text}"
            );
        };
        check("model.onnx:1:cut=10", Some(FaultKind::CutAfter(10)));
        check(":1:flip=0", Some(FaultKind::FlipByte(0)));
        check("a:b:3:length=-1", Some(FaultKind::WrongLength(-1)));
        check(
            "a:1:slow=10/5",
            Some(FaultKind::Slow {
                piece_bytes: 10,
                pause: Duration::from_millis(5),
            }),
        );
        check("a:1:status=503", Some(FaultKind::status(503)));
        check("a:1:melt", None);
        check("cut=1", None);
        check("a:x:cut=1", None);
    }
}
