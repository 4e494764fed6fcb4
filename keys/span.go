package keys

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// ErrSpan: the text is not a span of time.
var ErrSpan = errors.New("use a span such as 90d, 12h or 30m")

// maxDays of a span, a century: more would come out as less.
const maxDays = 36500

// ParseSpan reads 90d, 12h or 30m: days, or what [time.ParseDuration] reads, not negative and
// at most a century. The error is [ErrSpan].
func ParseSpan(text string) (time.Duration, error) {
	const day = 24 * time.Hour
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 32)
		if err != nil || n > maxDays {
			return 0, ErrSpan
		}
		return time.Duration(n) * day, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > maxDays*day {
		return 0, ErrSpan
	}
	return d, nil
}
