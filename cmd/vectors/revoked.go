package main

import "fmt"

// revocations are every letter, cut at each time, and tokens around the position.
func (b *book) revocations() {
	places := []struct {
		name string
		cut  int // position
	}{{"in the snapshot", 950}, {"on page 1", 1002}, {"on page 2", 1002}}
	for _, letter := range letters() {
		for _, place := range places {
			feed := letter + " " + place.name
			for _, rv := range []int{place.cut - 40, place.cut - 1} {
				b.add(fmt.Sprintf("%s, cut at %d, rv %d", feed, place.cut, rv),
					feed, b.subject(letter, rv), refuse)
			}
			for _, rv := range []int{place.cut, place.cut + 500} {
				b.add(fmt.Sprintf("%s, cut at %d, rv %d", feed, place.cut, rv),
					feed, b.subject(letter, rv), accept)
			}
			if letter != "everything" {
				b.add(feed+", another token", feed, b.claimed(fields{"rv": place.cut - 1}), accept)
			}
		}
	}
	b.add("a cut secret, and a token without crd", "s in the snapshot", b.claimed(fields{"crd": nil, "rv": 940}), accept)
	for _, feed := range []string{"touched", "an unknown kind", "an unknown letter", "resource touched",
		"other letters", "longer and shorter", "another's end"} {
		b.add(feed, feed, b.claimed(nil), accept)
	}
	cut := func(rv int) string { return b.subject("c", rv) }
	b.add("an id with a colon, cut", "with a colon", b.claimed(fields{"client_id": "a:b"}), refuse)
	b.add("the end of an id with a colon", "with a colon", b.claimed(fields{"client_id": "b"}), accept)
	b.add("the beginning of an id with a colon", "with a colon", b.claimed(fields{"client_id": "a"}), accept)
	for _, feed := range []string{"the older first", "the newer first"} {
		b.add("the newest cut counts, "+feed, feed, cut(950), refuse)
		b.add("above the newest cut, "+feed, feed, cut(960), accept)
	}
	b.add("cut again by a page", "cut twice", cut(940), refuse)
	b.add("a page that repeats an entry", "a page again", cut(990), refuse)
	b.add("a page that repeats an entry, another token", "a page again", b.claimed(nil), accept)
	b.add("a touch takes no cut back", "cut, then touched", cut(940), refuse)
	b.add("a touch is no cut", "cut, then touched", cut(950), accept)
	b.add("a terminal cut of a client", "terminal of a client", cut(990), refuse)
	b.add("a terminal cut of a client, rv far above", "terminal of a client", cut(1_000_000), refuse)
	b.terminals()
	b.floors()
}

// subject is a token that the cut of a letter is about.
func (b *book) subject(letter string, rv int) string {
	switch letter {
	case "c":
		return b.claimed(fields{"client_id": "cut", "rv": rv})
	case "o":
		return b.claimed(fields{"org": "cut", "rv": rv})
	case "j":
		return b.claimed(fields{"jti": "cut", "rv": rv})
	case "s":
		return b.claimed(fields{"crd": "cut", "rv": rv})
	case "k":
		return b.by(es256b, "ES256", fields{"rv": rv})
	}
	return b.claimed(fields{"rv": rv})
}

func (b *book) terminals() {
	for _, feed := range []string{"terminal below the floor", "floor passes a terminal cut",
		"terminal, then a usual one", "terminal on a page"} {
		for _, rv := range []int{990, 1_000_000, 1 << 52} {
			b.add(fmt.Sprintf("%s, rv %d", feed, rv), feed, b.subject("k", rv), refuse)
		}
		b.add(feed+", another key", feed, b.claimed(nil), accept)
	}
}

func (b *book) floors() {
	for _, row := range []struct {
		feed  string
		floor int
	}{{quiet, floor}, {"floor raised", 950}, {"floor not raised", floor}, {"floor to the tip", watermark}} {
		for _, rv := range []int{1, row.floor - 1} {
			b.add(fmt.Sprintf("%s, below the floor of %d, rv %d", row.feed, row.floor, rv),
				row.feed, b.claimed(fields{"rv": rv}), refuse)
		}
		b.add(fmt.Sprintf("%s, at the floor of %d", row.feed, row.floor),
			row.feed, b.claimed(fields{"rv": row.floor}), accept)
	}
	b.add("the largest rv", quiet, b.claimed(fields{"rv": 1<<53 - 1}), accept)
}

// views are about what is known.
func (b *book) views() {
	for _, feed := range []string{"never joined", "joined only", "one gap", "gap on page 2",
		"behind the tip", "past the lease", "an hour old", "older than an hour", "of the future",
		"own end in the snapshot", "own end", "own end among others"} {
		b.add(feed+", a good token", feed, b.claimed(nil), noidea)
		b.add(feed+", a token that is none", feed, b.headed(fields{"typ": "JWT"}), refuse)
	}
	for _, feed := range []string{"behind, then at the tip", "old, then fresh", "fresh, then old", "fresh, then behind"} {
		b.add(feed+", a good token", feed, b.claimed(nil), accept)
	}
	b.add("behind, then at the tip, cut by the first page", "behind, then at the tip", b.subject("c", 990), refuse)
	b.add("behind, then at the tip, cut by the second page", "behind, then at the tip", b.subject("o", 990), refuse)
}
