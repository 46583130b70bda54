package import Model

extension PointSummary {
    /// Enough digits to find it again in every vault but the largest.
    package var shortID: String { String(id.hex.prefix(8)) }

    /// What choosing one of several needs to know of it.
    package var candidate: PointSelector.Candidate {
        PointSelector.Candidate(id: id, time: effective, isPartial: isPartial)
    }

    /// Whether files can be brought back from it: a checkpoint has none of its own, and one that is out of its chain cannot be
    /// relied on.
    package var isForRestores: Bool { kind != .checkpoint && condition != .outOfChain }
}
