//! Events and decisions as text: recorded runs that this policy and its C twin must reproduce line by line.
//!
//! The format is described in `traces/README.md`. A [`Player`] carries out the lines of a trace and writes what the
//! policy answers; [`event_line`] writes an event as such a line.

use core::fmt::{self, Write};

use crate::config::{Config, Model, OnMiss, Preemption};
use crate::decision::{Decision, Decisions, Member};
use crate::job::{Class, Event, Job, JobId, ModelIndex, Thread};
use crate::policy::Policy;
use crate::stats::Stats;

/// Why a line could not be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The first word of the line names nothing that can be done.
    UnknownCommand,
    /// An event has no time: it must begin with `@` and nanoseconds.
    MissingTime,
    /// The line has a key that its command does not know.
    UnknownKey,
    /// A value is not a number of the size that its key has, or out of its range.
    BadValue,
    /// The output could not be written.
    Write,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownCommand => "unknown command: see the list in traces/README.md",
            Self::MissingTime => "an event must begin with its time, as in `@1000 tick`",
            Self::UnknownKey => "unknown key: see the keys of this command in traces/README.md",
            Self::BadValue => "value is not a number or out of range",
            Self::Write => "the answer could not be written",
        })
    }
}

impl core::error::Error for Error {}

impl From<fmt::Error> for Error {
    fn from(_: fmt::Error) -> Self {
        Self::Write
    }
}

/// Plays a trace.
#[derive(Debug)]
pub struct Player {
    policy: Policy,
}

impl Default for Player {
    fn default() -> Self {
        Self {
            policy: Policy::new(Config::default()),
        }
    }
}

impl Player {
    /// Carries out one line and writes the answer, each line of it beginning with `> `. Blank lines, comments, and the
    /// answers of an earlier play are passed over.
    pub fn play(&mut self, line: &str, out: &mut impl Write) -> Result<(), Error> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || line.starts_with('>') {
            return Ok(());
        }
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        match first.strip_prefix('@') {
            Some(time) => {
                let (word, fields) = rest.split_once(' ').unwrap_or((rest, ""));
                self.event(number(time)?, word, fields, out)
            }
            None => self.setup(first, rest, out),
        }
    }

    fn setup(&mut self, word: &str, fields: &str, out: &mut impl Write) -> Result<(), Error> {
        match word {
            "config" => self.policy = Policy::new(config(fields)?),
            "model" => {
                let (index, model) = model(fields)?;
                if !self.policy.add_model(index, model) {
                    return Err(Error::BadValue);
                }
            }
            "profile" => {
                let mut profile = Fields::default();
                profile.read(fields, &["model", "rows", "total_ns", "slice_ns"])?;
                let (index, rows) = (ModelIndex(profile.get("model")?), profile.get("rows")?);
                self.policy
                    .set_profile(index, rows, profile.get("total_ns")?, profile.get("slice_ns")?);
            }
            "stats" => write_stats(self.policy.stats(), out)?,
            "tick" | "arrive" | "adopt" | "checkpoint" | "complete" | "failed" | "cancel" | "prefetched"
            | "remove" | "take" | "predict" => return Err(Error::MissingTime),
            _ => return Err(Error::UnknownCommand),
        }
        Ok(())
    }

    fn event(&mut self, now_ns: u64, word: &str, fields: &str, out: &mut impl Write) -> Result<(), Error> {
        let event = match word {
            "arrive" => Event::Arrive(job(fields)?),
            "adopt" => Event::Adopt(job(fields)?),
            "checkpoint" => Event::Checkpoint {
                thread: thread(fields)?,
            },
            "failed" => Event::Failed {
                thread: thread(fields)?,
            },
            "complete" => {
                let mut complete = Fields::default();
                complete.read(fields, &["thread", "elapsed_ns", "slice_ns"])?;
                Event::Complete {
                    thread: Thread(complete.get("thread")?),
                    elapsed_ns: complete.get("elapsed_ns")?,
                    longest_slice_ns: complete.get("slice_ns")?,
                }
            }
            "cancel" => Event::Cancel {
                job: JobId(single(fields, "job")?),
            },
            "prefetched" => Event::Prefetched {
                model: ModelIndex(single(fields, "model")?),
            },
            "tick" => Event::Tick,
            "remove" => {
                let model = ModelIndex(single(fields, "model")?);
                return Ok(write_decisions(self.policy.remove_model(now_ns, model), out)?);
            }
            "take" => return self.take(now_ns, class(single(fields, "class")?)?, out),
            "predict" => return self.predict(now_ns, &job(fields)?, out),
            _ => return Err(Error::UnknownCommand),
        };
        Ok(write_decisions(self.policy.on(now_ns, event), out)?)
    }

    fn take(&mut self, now_ns: u64, class: Class, out: &mut impl Write) -> Result<(), Error> {
        match self.policy.take_queued(now_ns, class) {
            Some(job) => writeln!(out, "> took job={}", job.id.0)?,
            None => writeln!(out, "> took nothing")?,
        }
        Ok(())
    }

    fn predict(&mut self, now_ns: u64, job: &Job, out: &mut impl Write) -> Result<(), Error> {
        let prediction = self.policy.predict(now_ns, job);
        writeln!(
            out,
            "> prediction completion_ns={} bound_ns={} would_miss={} known={} thread={}",
            prediction.completion_ns,
            prediction.bound_ns,
            u8::from(prediction.would_miss),
            u8::from(prediction.known),
            prediction.placement.0
        )?;
        Ok(())
    }
}

/// Writes an event as a line of a trace.
pub fn event_line(now_ns: u64, event: &Event, out: &mut impl Write) -> fmt::Result {
    write!(out, "@{now_ns} ")?;
    match *event {
        Event::Arrive(job) => write_job("arrive", &job, out),
        Event::Adopt(job) => write_job("adopt", &job, out),
        Event::Checkpoint { thread } => writeln!(out, "checkpoint thread={}", thread.0),
        Event::Complete {
            thread,
            elapsed_ns,
            longest_slice_ns,
        } => {
            writeln!(
                out,
                "complete thread={} elapsed_ns={elapsed_ns} slice_ns={longest_slice_ns}",
                thread.0
            )
        }
        Event::Failed { thread } => writeln!(out, "failed thread={}", thread.0),
        Event::Cancel { job } => writeln!(out, "cancel job={}", job.0),
        Event::Prefetched { model } => writeln!(out, "prefetched model={}", model.0),
        Event::Tick => writeln!(out, "tick"),
    }
}

fn write_job(word: &str, job: &Job, out: &mut impl Write) -> fmt::Result {
    writeln!(
        out,
        "{word} job={} model={} class={} deadline_ns={} degrade={} rows={} shape={}",
        job.id.0,
        job.model.0,
        job.class.index(),
        job.deadline_ns.unwrap_or(0),
        u8::from(job.on_miss == OnMiss::Degrade),
        job.rows,
        job.shape_key
    )
}

/// Writes the answer to an event, a line for each decision.
pub fn write_decisions(decisions: &Decisions, out: &mut impl Write) -> fmt::Result {
    for decision in decisions {
        out.write_str("> ")?;
        match *decision {
            Decision::Dispatch(dispatch) => {
                let (thread, class) = (dispatch.thread.0, dispatch.class.index());
                write!(
                    out,
                    "dispatch thread={thread} class={class} model={} rows={}",
                    dispatch.model.0, dispatch.rows
                )?;
                write_members(decisions.members(&dispatch), out)?;
            }
            Decision::Suspend { thread, class } => {
                write!(out, "suspend thread={} class={}", thread.0, class.index())?
            }
            Decision::Resume { thread, class, job } => {
                write!(
                    out,
                    "resume thread={} class={} job={}",
                    thread.0,
                    class.index(),
                    job.0
                )?;
            }
            Decision::Continue { thread } => write!(out, "continue thread={}", thread.0)?,
            Decision::Preempt { thread } => write!(out, "preempt thread={}", thread.0)?,
            Decision::Reject {
                job,
                why,
                predicted_ns,
            } => {
                write!(
                    out,
                    "reject job={} why={} predicted_ns={predicted_ns}",
                    job.0, why as u8
                )?;
            }
            Decision::Degrade {
                job,
                class,
                predicted_ns,
            } => {
                write!(
                    out,
                    "degrade job={} class={} predicted_ns={predicted_ns}",
                    job.0,
                    class.index()
                )?;
            }
            Decision::CancelRunning { thread, job } => {
                write!(out, "cancel thread={} job={}", thread.0, job.0)?
            }
            Decision::Dropped { job } => write!(out, "dropped job={}", job.0)?,
            Decision::Finished { job } => write!(out, "finished job={}", job.0)?,
            Decision::Prefetch { model } => write!(out, "prefetch model={}", model.0)?,
            Decision::IdleUntil { at_ns } => write!(out, "idle-until at_ns={at_ns}")?,
        }
        out.write_char('\n')?;
    }
    Ok(())
}

fn write_members(members: &[Member], out: &mut impl Write) -> fmt::Result {
    for (index, Member { job, first_row, rows }) in members.iter().enumerate() {
        let before = if index == 0 { " members=" } else { "," };
        write!(out, "{before}{}:{first_row}:{rows}", job.0)?;
    }
    Ok(())
}

fn write_stats(stats: &Stats, out: &mut impl Write) -> fmt::Result {
    for class in Class::ALL {
        let of = &stats.classes[class.index()];
        write!(
            out,
            "> class={} arrivals={} dispatches={}",
            class.index(),
            of.arrivals,
            of.dispatches
        )?;
        write!(
            out,
            " joined={} preemptions={} slices={}",
            of.joined, of.preemptions, of.slices
        )?;
        write!(
            out,
            " finished={} misses={} rejects={}",
            of.finished, of.misses, of.rejects
        )?;
        write!(
            out,
            " degraded={} dropped={} taken={}",
            of.degraded, of.dropped, of.taken
        )?;
        writeln!(out, " rows={} busy_ns={}", of.rows, of.busy_ns)?;
    }
    let score = &stats.score;
    write!(
        out,
        "> score predictions={} accurate={}",
        score.predictions, score.accurate
    )?;
    write!(
        out,
        " missed={} false_alarms={} runs={}",
        score.missed, score.false_alarms, score.runs
    )?;
    writeln!(
        out,
        " within_bound={} error_sum_ns={}",
        score.runs_within_bound, score.error_sum_ns
    )?;
    let prefetch = &stats.prefetch;
    write!(
        out,
        "> prefetch issued={} on_time={}",
        prefetch.issued, prefetch.on_time
    )?;
    writeln!(out, " late={} early={}", prefetch.late, prefetch.early)
}

/// The `key=value` fields of a line.
#[derive(Default)]
struct Fields<'a> {
    line: &'a str,
}

impl<'a> Fields<'a> {
    fn read(&mut self, line: &'a str, known: &[&str]) -> Result<(), Error> {
        self.line = line;
        for field in line.split_whitespace() {
            let (key, _) = field.split_once('=').ok_or(Error::UnknownKey)?;
            if !known.contains(&key) {
                return Err(Error::UnknownKey);
            }
        }
        Ok(())
    }

    fn find(&self, wanted: &str) -> Option<&'a str> {
        let fields = self
            .line
            .split_whitespace()
            .filter_map(|field| field.split_once('='));
        fields
            .into_iter()
            .find(|(key, _)| *key == wanted)
            .map(|(_, value)| value)
    }

    /// A number; 0 where the key is left out.
    fn get<T: TryFrom<u64>>(&self, key: &str) -> Result<T, Error> {
        T::try_from(self.find(key).map_or(Ok(0), number)?).map_err(|_| Error::BadValue)
    }

    /// A number; unchanged where the key is left out.
    fn set<T: TryFrom<u64>>(&self, key: &str, value: &mut T) -> Result<(), Error> {
        if self.find(key).is_some() {
            *value = self.get(key)?;
        }
        Ok(())
    }

    /// One number for each class, with commas between.
    fn set_each<T: TryFrom<u64>>(&self, key: &str, values: &mut [T; Class::COUNT]) -> Result<(), Error> {
        let Some(list) = self.find(key) else { return Ok(()) };
        let mut numbers = list.split(',');
        for value in values {
            let number = number(numbers.next().ok_or(Error::BadValue)?)?;
            *value = T::try_from(number).map_err(|_| Error::BadValue)?;
        }
        if numbers.next().is_some() {
            Err(Error::BadValue)
        } else {
            Ok(())
        }
    }
}

fn number(text: &str) -> Result<u64, Error> {
    text.parse().map_err(|_| Error::BadValue)
}

fn single<T: TryFrom<u64>>(fields: &str, key: &str) -> Result<T, Error> {
    let mut read = Fields::default();
    read.read(fields, &[key])?;
    read.get(key)
}

fn thread(fields: &str) -> Result<Thread, Error> {
    Ok(Thread(single(fields, "thread")?))
}

fn class(index: usize) -> Result<Class, Error> {
    Class::from_index(index).ok_or(Error::BadValue)
}

fn job(fields: &str) -> Result<Job, Error> {
    let mut job = Fields::default();
    job.read(
        fields,
        &["job", "model", "class", "deadline_ns", "degrade", "rows", "shape"],
    )?;
    let deadline_ns: u64 = job.get("deadline_ns")?;
    Ok(Job {
        id: JobId(job.get("job")?),
        model: ModelIndex(job.get("model")?),
        class: class(job.get("class")?)?,
        deadline_ns: (deadline_ns > 0).then_some(deadline_ns),
        on_miss: if job.get::<u8>("degrade")? == 1 {
            OnMiss::Degrade
        } else {
            OnMiss::Reject
        },
        rows: job.get("rows")?,
        shape_key: job.get("shape")?,
    })
}

fn model(fields: &str) -> Result<(ModelIndex, Model), Error> {
    let mut read = Fields::default();
    let known = [
        "model",
        "class",
        "max_batch_rows",
        "max_queue_delay_ns",
        "prefetch_lead_ns",
        "splittable",
    ];
    read.read(fields, &known)?;
    let mut model = Model::default();
    let mut class_index = model.class_default.index();
    read.set("class", &mut class_index)?;
    model.class_default = class(class_index)?;
    read.set("max_batch_rows", &mut model.max_batch_rows)?;
    read.set("max_queue_delay_ns", &mut model.max_queue_delay_ns)?;
    read.set("prefetch_lead_ns", &mut model.prefetch_lead_ns)?;
    model.splittable = read.get::<u8>("splittable")? == 1;
    Ok((ModelIndex(read.get("model")?), model))
}

const CONFIG_KEYS: [&str; 14] = [
    "preemption",
    "slice_target_ns",
    "front_budget_ns",
    "queue_jobs_max",
    "models_max",
    "share_per_mille",
    "window_ns",
    "share_quantum_ns",
    "realtime_bound_per_mille",
    "default_budget_ns",
    "unknown_cost_ns",
    "urgent_memory_ns",
    "part_target_ns",
    "overtake_bound_ns",
];

fn config(fields: &str) -> Result<Config, Error> {
    let mut read = Fields::default();
    read.read(fields, &CONFIG_KEYS)?;
    let mut config = Config::default();
    match read.find("preemption") {
        None => {}
        Some("none") => config.preemption = Preemption::None,
        Some("layer") => config.preemption = Preemption::Layer,
        Some("lanes") => config.preemption = Preemption::Lanes,
        Some(_) => return Err(Error::BadValue),
    }
    read.set("slice_target_ns", &mut config.slice_target_ns)?;
    read.set("front_budget_ns", &mut config.front_budget_ns)?;
    read.set("queue_jobs_max", &mut config.queue_jobs_max)?;
    read.set("models_max", &mut config.models_max)?;
    read.set_each("share_per_mille", &mut config.share_per_mille)?;
    read.set("window_ns", &mut config.window_ns)?;
    read.set("share_quantum_ns", &mut config.share_quantum_ns)?;
    read.set("realtime_bound_per_mille", &mut config.realtime_bound_per_mille)?;
    read.set_each("default_budget_ns", &mut config.default_budget_ns)?;
    read.set("unknown_cost_ns", &mut config.unknown_cost_ns)?;
    read.set("urgent_memory_ns", &mut config.urgent_memory_ns)?;
    read.set("part_target_ns", &mut config.part_target_ns)?;
    read.set("overtake_bound_ns", &mut config.overtake_bound_ns)?;
    Ok(config)
}
