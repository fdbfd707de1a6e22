//! The figures, and how they are shown.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};

use crate::machine::Machine;
use crate::options::Sizes;

const LEGEND: &str = "\
floor: the same load on the least that does it, without login, permissions, read state and event log. For sends an axum
       handler that writes batches, for sockets axum's WebSocket with small buffers and a writer that flushes runs.
bare:  sockets without any server library, one shared frame, vectored writes; the least that delivery can cost.
CPU:   of the whole process, divided by the messages or by the deliveries.";

/// One figure.
pub struct Row {
    scenario: String,
    what: String,
    unit: &'static str,
    millrace: f64,
    floor: Option<f64>,
    bare: Option<f64>,
    goals: Vec<Goal>,
}

struct Goal {
    text: String,
    is_met: bool,
}

/// What a goal asks for.
#[derive(Clone, Copy)]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(out, "≥ {}", number(*least)),
            Self::AtMost(most) => write!(out, "≤ {}", number(*most)),
        }
    }
}

impl Row {
    pub fn new(scenario: impl Into<String>, what: impl Into<String>, unit: &'static str, millrace: f64) -> Self {
        Self {
            scenario: scenario.into(),
            what: what.into(),
            unit,
            millrace,
            floor: None,
            bare: None,
            goals: Vec::new(),
        }
    }

    pub fn floor(self, value: f64) -> Self {
        Self { floor: Some(value), ..self }
    }

    pub fn bare(self, value: f64) -> Self {
        Self { bare: Some(value), ..self }
    }

    /// A goal in the unit of the figure.
    pub fn goal(mut self, bound: Bound) -> Self {
        self.goals.push(Goal { text: bound.to_string(), is_met: bound.holds(self.millrace) });
        self
    }

    /// A goal as a multiple of the floor.
    pub fn goal_of_floor(self, bound: Bound) -> Self {
        let floor = self.floor.unwrap_or(f64::NAN);
        self.goal_of("floor", floor, bound)
    }

    /// A goal as a multiple of another figure.
    pub fn goal_of(mut self, name: &str, other: f64, bound: Bound) -> Self {
        self.goals.push(Goal { text: format!("{bound} × {name}"), is_met: bound.holds(self.millrace / other) });
        self
    }

    fn cells(&self) -> [String; 9] {
        let shown = |value: Option<f64>| value.map(number).unwrap_or_default();
        let lines = |of: fn(&Goal) -> &str| self.goals.iter().map(of).collect::<Vec<_>>().join("\n");
        [
            self.scenario.clone(),
            self.what.clone(),
            self.unit.into(),
            number(self.millrace),
            shown(self.floor),
            shown(self.floor.map(|floor| self.millrace / floor)),
            shown(self.bare),
            lines(|goal| &goal.text),
            lines(|goal| if goal.is_met { "✓" } else { "✗ missed" }),
        ]
    }
}

pub struct Report {
    pub machine: Machine,
    pub sizes: Sizes,
    pub rows: Vec<Row>,
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_preset(presets::ASCII_MARKDOWN);
        table.set_header(["", "", "unit", "Millrace", "floor", "ratio", "bare", "goal", ""]);
        for column in 3..=6 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for row in &self.rows {
            table.add_row(row.cells());
        }
        let Sizes { trial, rounds, .. } = self.sizes;
        writeln!(out, "{}\nTrials of {} s, medians of {rounds}.", self.machine, trial.as_secs_f64())?;
        write!(out, "\n{table}\n\n{LEGEND}")
    }
}

/// With thousands apart.
pub fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// To three digits or to the whole number.
fn number(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        100.0.. => grouped(value.round() as usize),
        _ => "?".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_grouped() {
        for (value, text) in
            [(0.0, "0.00"), (1.234, "1.23"), (45.67, "45.7"), (999.6, "1,000"), (1_234_567.0, "1,234,567")]
        {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn goals_look_at_the_figure_or_at_a_ratio() {
        let row = Row::new("", "", "", 50.0).floor(100.0).goal(Bound::AtLeast(50.0)).goal(Bound::AtMost(49.0));
        let row = row.goal_of_floor(Bound::AtMost(0.5)).goal_of("another", 200.0, Bound::AtLeast(0.3));
        assert_eq!(row.goals.iter().map(|goal| goal.is_met).collect::<Vec<_>>(), [true, false, true, false]);
        assert_eq!(row.goals[3].text, "≥ 0.30 × another");
    }
}
