package import Model

extension PointSummary {
    /// What retention needs to know of it.
    ///
    /// - Parameters:
    ///   - ordinal: its place among the machine's points in the order of acceptance.
    ///   - now: the vault's clock.
    package func retentionPoint(ordinal: Int, now: Timestamp) -> RetentionPoint {
        RetentionPoint(
            id: id, time: effective, ordinal: ordinal, isPinned: isPinned, isPartial: isPartial,
            isDamaged: condition != .whole, isHeld: isHeld, isCheckpoint: kind == .checkpoint, series: series,
            isAheadOfClock: arrival > now)
    }
}
