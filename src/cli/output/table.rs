//! Aligned tables for a terminal.

use std::io::{self, Write};

use anstyle::Style;
use comfy_table::{
    Cell, CellAlignment, ColumnConstraint, ContentArrangement, Row, Table as Layout, Width, presets,
};
use serde_json::Value;

use super::Selection;

/// A table that is laid out in blocks; later blocks are at least as wide as earlier ones.
pub struct Table {
    width: Option<u16>,
    header: bool,
    widths: Vec<u16>,
}

impl Table {
    /// A table that fits into `width` columns; `None`: nothing is cut.
    pub fn new(width: Option<u16>, header: bool) -> Self {
        Self { width, header, widths: Vec::new() }
    }

    /// Lays out one block and writes it.
    pub fn write(&mut self, out: &mut impl Write, selection: &Selection, rows: &[Value]) -> io::Result<()> {
        if rows.is_empty() && !self.header {
            return Ok(());
        }
        let header = std::mem::take(&mut self.header);
        let layout = self.layout(selection, rows, header);
        for (at, line) in layout.lines().enumerate() {
            let line = line.trim_end();
            // A pipe never gets here, so that the style only has to follow --color and NO_COLOR.
            match header && at == 0 && coloured() {
                true => writeln!(out, "{bold}{line}{bold:#}", bold = Style::new().bold())?,
                false => writeln!(out, "{line}")?,
            }
        }
        self.widths = layout.column_max_content_widths();
        Ok(())
    }

    fn layout(&self, selection: &Selection, rows: &[Value], header: bool) -> Layout {
        let mut layout = Layout::new();
        layout.load_style(presets::NOTHING).force_no_tty();
        if let Some(width) = self.width {
            layout.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        if header {
            layout.add_row(
                selection.columns.iter().map(|column| cell(column.name.to_uppercase(), column.kind.right())),
            );
        }
        for row in rows {
            let cells = selection.columns.iter().map(|column| cell(column.show(row), column.kind.right()));
            let mut row = Row::from(cells);
            row.max_height(1);
            layout.add_row(row);
        }
        layout.discover_columns();
        let last = selection.columns.len().saturating_sub(1);
        for (at, column) in layout.column_iter_mut().enumerate() {
            column.set_padding((0, if at == last { 0 } else { 2 }));
            if let Some(width) = self.widths.get(at) {
                let padded = width.saturating_add(column.padding_width());
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(padded)));
            }
        }
        layout
    }
}

fn cell(text: String, right: bool) -> Cell {
    Cell::new(text).set_alignment(if right { CellAlignment::Right } else { CellAlignment::Left })
}

fn coloured() -> bool {
    anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
}
