/// An instant in nanoseconds since 1970-01-01 00:00:00 UTC. Covers the years 1677 to 2262.
package struct Timestamp: Hashable, Comparable, Sendable {
    package let nanoseconds: Int64

    @inlinable
    package init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    /// From whole seconds and the nanoseconds within the second; clamps to the range of the type.
    @inlinable
    package init(seconds: Int64, nanoseconds: Int64 = 0) {
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        let (sum, overflow2) = product.addingReportingOverflow(nanoseconds)
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
    package var subsecond: Int64 { nanoseconds - seconds * 1_000_000_000 }

    @inlinable
    package static func < (a: Timestamp, b: Timestamp) -> Bool { a.nanoseconds < b.nanoseconds }
}
