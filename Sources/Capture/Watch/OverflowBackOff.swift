/// When a full queue is worth a scan: at once for the first, then with growing pauses, so that scans do not chase each
/// other while something writes faster than anybody can read.
///
/// The last loss is always told in the end, after it happened. Times are nanoseconds of any clock that goes forward.
struct OverflowBackOff {
    /// The first pause between two scans.
    static let shortest: Int64 = 10_000_000_000
    static let longest: Int64 = 300_000_000_000

    private var pause = OverflowBackOff.shortest
    private var told: Int64?
    private(set) var isPending = false

    /// Something was lost.
    mutating func lost() { isPending = true }

    /// Whether a loss is to be told now.
    mutating func take(at now: Int64) -> Bool {
        guard isPending else { return false }
        if let told {
            if now - told < pause { return false }
            // A quiet time of ten pauses starts over.
            pause =
                now - told > 10 * pause ? OverflowBackOff.shortest : min(pause * 2, OverflowBackOff.longest)
        }
        told = now
        isPending = false
        return true
    }

    /// When to ask again; `nil` when nothing is pending.
    var next: Int64? { isPending ? (told.map { $0 + pause } ?? 0) : nil }
}
