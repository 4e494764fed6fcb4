package main

import (
	"maps"
	"slices"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/httpfeed"
)

// The log of the vectors.
const (
	floor     = 900
	watermark = 1000
	session   = "ver_own"
)

// feeds are what sessions told, by name.
func feeds() map[string]feed {
	all := map[string]feed{
		"never joined":  {Pages: []httpfeed.Page{}},
		"joined only":   begin(),
		"nothing cut":   begin().page(0),
		"one gap":       begin().page(0, at(1002, cut("c:other"))),
		"gap on page 2": begin().page(0, cut("c:other")).page(0, at(1003, cut("c:other"))),
		"a page again":  begin().page(0, cut("c:cut")).page(0, at(1001, cut("c:cut"))),

		"behind the tip":          begin().behind(1, cut("c:cut")),
		"behind, then at the tip": begin().behind(1, cut("c:cut")).page(0, cut("o:cut")),
		"past the lease":          begin().page(leaseMS*1000 + 1_000_000),
		"an hour old":             begin().page(3600 * 1000 * 1000),
		"older than an hour":      begin().page(3600*1000*1000 + 1),
		"of the future":           begin().page(-1000),
		"old, then fresh":         begin().page(60_000_000).page(0),
		"fresh, then old":         begin().page(0).page(60_000_000),
		"fresh, then behind":      begin().page(0).behind(5),

		"own end in the snapshot": begin(cut("v:" + session)),
		"own end":                 begin().page(0).page(0, cut("v:"+session)),
		"own end among others":    begin().page(0).page(0, cut("c:other"), cut("v:"+session), cut("o:other")),
		"another's end":           begin(cut("v:ver_other")).page(0, cut("v:ver_"), cut("v:"+session+"2")),

		"floor raised":                begin().page(0).floor(950),
		"floor not raised":            begin().page(0).floor(800),
		"floor to the tip":            begin().page(0).floor(watermark),
		"floor passes a terminal cut": begin(at(910, terminal("k:"+es256b))).page(0).floor(950),
		"terminal below the floor":    begin(at(10, terminal("k:"+es256b))).page(0),
		"terminal, then a usual one":  begin(at(910, terminal("k:"+es256b))).page(0, cut("k:"+es256b)),
		"terminal on a page":          begin().page(0, terminal("k:"+es256b)),
		"terminal of a client":        begin(at(910, terminal("c:cut"))).page(0),

		"touched": begin().page(0, touch("c:client"), touch("o:org"), touch("j:jti"),
			touch("s:secret"), touch("k:"+es256), touch("*")),
		"an unknown kind":   begin().page(0, tokens.Entry{Subject: "c:client", Kind: "note"}),
		"an unknown letter": begin(cut("x:client")).page(0, cut("q:org"), cut("z:jti")),
		"resource touched":  begin().page(0, touch("r:client"), cut("r:org")),
		"other letters": begin().page(0, cut("o:client"), cut("c:org"), cut("c:jti"), cut("j:secret"),
			cut("s:client"), cut("v:client"), cut("k:client"), cut("c:"+es256)),
		"longer and shorter": begin().page(0, cut("c:client2"), cut("c:clien"), cut("c:"),
			cut("c: client"), cut("c:CLIENT")),
		"with a colon":      begin().page(0, cut("c:a:b")),
		"the older first":   begin(at(940, cut("c:cut")), at(960, cut("c:cut"))).page(0),
		"the newer first":   begin(at(960, cut("c:cut")), at(940, cut("c:cut"))).page(0),
		"cut twice":         begin(at(940, cut("c:cut"))).page(0, cut("c:cut")),
		"cut, then touched": begin(at(950, cut("c:cut"))).page(0, touch("c:cut")),
	}
	for letter, subject := range subjects {
		all[letter+" in the snapshot"] = begin(at(950, cut(subject))).page(0)
		all[letter+" on page 1"] = begin().page(0, touch("c:other"), cut(subject), touch("c:other")).page(0)
		all[letter+" on page 2"] = begin().page(0, cut("c:other")).page(0, cut(subject))
	}
	return all
}

// subjects are what is cut, one of each letter.
var subjects = map[string]tokens.Subject{"c": "c:cut", "o": "o:cut", "j": "j:cut", "s": "s:cut",
	"k": "k:" + es256b, "everything": "*"}

// letters are their names in order.
func letters() []string { return slices.Sorted(maps.Keys(subjects)) }

// begin is a session with a snapshot. A cut without a position has one of its own.
func begin(cuts ...tokens.Entry) feed {
	joined := httpfeed.Joined{Session: session, Cuts: []tokens.Entry{},
		Watermark: watermark, Floor: floor, Head: 7 * watermark}
	for i, e := range cuts {
		if e.Position == 0 {
			e.Position = 980 + uint64(i)
		}
		e.Head = 7 * e.Position
		joined.Cuts = append(joined.Cuts, e)
	}
	return feed{Joined: &joined, Pages: []httpfeed.Page{}}
}

// page adds the answer to a poll, so many microseconds old, with entries that follow.
func (f feed) page(age int64, entries ...tokens.Entry) feed {
	tip, floor := f.Joined.Watermark, f.Joined.Floor
	for _, p := range f.Pages {
		floor = p.Floor
		for _, e := range p.Entries {
			tip = e.Position
		}
	}
	page := httpfeed.Page{Session: session, Nonce: "nonce", Entries: []tokens.Entry{},
		Floor: floor, AgeUS: age}
	for _, e := range entries {
		if tip++; e.Position == 0 {
			e.Position = tip
		}
		tip, e.Head = e.Position, 7*e.Position
		page.Entries = append(page.Entries, e)
	}
	page.Tip = tip
	f.Pages = append(slices.Clip(f.Pages), page)
	return f
}

// behind is a page that leaves out some of what follows.
func (f feed) behind(missing uint64, entries ...tokens.Entry) feed {
	f = f.page(0, entries...)
	f.Pages[len(f.Pages)-1].Tip += missing
	return f
}

// floor is the floor that the last page told.
func (f feed) floor(position uint64) feed {
	f.Pages[len(f.Pages)-1].Floor = position
	return f
}

func cut(s tokens.Subject) tokens.Entry   { return tokens.Entry{Subject: s, Kind: tokens.Cut} }
func touch(s tokens.Subject) tokens.Entry { return tokens.Entry{Subject: s, Kind: tokens.Touch} }

func terminal(s tokens.Subject) tokens.Entry {
	return tokens.Entry{Subject: s, Kind: tokens.Cut, Terminal: true}
}

func at(position uint64, e tokens.Entry) tokens.Entry {
	e.Position = position
	return e
}
