/// An instant in nanoseconds since 1970-01-01 00:00:00 UTC. Covers the years 1677 to 2262.
package struct Timestamp: Hashable, Comparable, Sendable {
    package let nanoseconds: Int64

    @inlinable
    package init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    /// From whole seconds and the nanoseconds within the second; clamps to the range of the type.
    @inlinable
    package init(seconds: Int64, nanoseconds: Int64 = 0) {
        // Before 1970 both parts are counted towards zero: the first second of the range has a fraction only.
        let isBorrowed = seconds < 0 && nanoseconds > 0
        let (product, overflow) = (isBorrowed ? seconds + 1 : seconds).multipliedReportingOverflow(by: 1_000_000_000)
        let (sum, overflow2) = product.addingReportingOverflow(
            isBorrowed ? nanoseconds - 1_000_000_000 : nanoseconds)
        self.nanoseconds = overflow || overflow2 ? (seconds < 0 ? Int64.min : Int64.max) : sum
    }

    /// Whole seconds, rounded towards the past.
    @inlinable
    package var seconds: Int64 {
        let quotient = nanoseconds / 1_000_000_000
        return nanoseconds % 1_000_000_000 < 0 ? quotient - 1 : quotient
    }

    /// The nanoseconds within the second, 0 to 999,999,999.
    @inlinable
    package var subsecond: Int64 {
        let rest = nanoseconds % 1_000_000_000
        return rest < 0 ? rest + 1_000_000_000 : rest
    }

    /// Whether a clock can have said so: from 1900 to the end of 2261. Times of records are within; arithmetic on
    /// them, a century to either side, stays in the range of the type.
    package var isPlausible: Bool { (-2_208_988_800..<9_214_646_400).contains(seconds) }

    /// The instant `nanoseconds` later, earlier when negative; the ends of the range are not passed.
    package func advanced(by nanoseconds: Int64) -> Timestamp {
        let (sum, overflow) = self.nanoseconds.addingReportingOverflow(nanoseconds)
        return Timestamp(nanoseconds: overflow ? (nanoseconds < 0 ? Int64.min : Int64.max) : sum)
    }

    /// The nanoseconds from `earlier` to this instant; the ends of the range are not passed.
    package func since(_ earlier: Timestamp) -> Int64 {
        let (difference, overflow) = nanoseconds.subtractingReportingOverflow(earlier.nanoseconds)
        return overflow ? (self < earlier ? Int64.min : Int64.max) : difference
    }

    @inlinable
    package static func < (a: Timestamp, b: Timestamp) -> Bool { a.nanoseconds < b.nanoseconds }
}
