package web

import (
	"slices"
	"strings"
)

// Cells are a row of CSV, of which a spreadsheet takes nothing for a formula.
func Cells(row []string) []string {
	safe := slices.Clone(row)
	for i, cell := range row {
		if cell != "" && strings.ContainsAny(string([]rune(cell)[:1]), "=+-@\t\r＝＋－＠") {
			safe[i] = "'" + cell
		}
	}
	return safe
}
