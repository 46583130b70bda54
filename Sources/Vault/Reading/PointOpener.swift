package import Model

/// What opens the records of points: the vault's keys, or a server that grants the keys of single points.
package protocol PointOpener: Sendable {
    var vault: VaultID { get }
    /// The public half of the vault's own signing key.
    var vaultVerifying: VerifyingKey { get }

    /// Opens a wrapped record key of `point`, or of a redaction of it.
    func recordKey(of wrap: [UInt8], in point: PointID) throws -> RecordKey

    /// What the contents of a machine's points can be checked with; the first that fits is used.
    func checkers(of machine: MachineID) -> [ContentChecker]
}

extension PointOpener {
    /// Opens a point's record after the check that one of the vault's machines signed it: anybody can seal a record for the
    /// vault's public key, so a point without that signature may be anybody's.
    ///
    /// - Parameters:
    ///   - machines: the records of the point's machine, which need not be trustworthy.
    ///   - redactions: redactions of the point, which need not be trustworthy either: of those that the vault signed for
    ///     this locator the newest takes the place of the record.
    package func openRecord(
        _ point: SealedPoint, machines: [MachineRecord], redactions: [RedactionRecord] = []
    ) throws -> PointRecord {
        try openRecord(point, signers: PointSigners(machines, of: vaultVerifying), redactions: redactions)
    }

    /// The same, for many points of the same machines.
    package func openRecord(
        _ point: SealedPoint, signers: PointSigners, redactions: [RedactionRecord] = []
    ) throws -> PointRecord {
        guard signers.hasRecord(of: point.locator.machine) else {
            throw HoldfastError(
                .damaged,
                "the vault has no readable record of the machine that made point \(point.locator.point.hex), so that nobody "
                    + "can tell whether it is genuine",
                context: [
                    "point": point.locator.point.hex,
                    "hint": "Run `holdfast vault join` on that machine if it is still there; else read the point with "
                        + "--accept-unsigned.",
                ])
        }
        try signers.verify(point)
        return try openRecord(unverified: point, redactions: redactions)
    }

    /// Opens a point's record without looking at the point's signature: for a person who wants it all the same.
    package func openRecord(
        unverified point: SealedPoint, redactions: [RedactionRecord] = []
    ) throws -> PointRecord {
        let newest = redactions.filter { redaction in
            redaction.point == point.locator.point && redaction.locatorHash == point.locator.hash
                && (try? redaction.verify(with: vaultVerifying)) != nil
        }.max { $0.time < $1.time }
        if let newest { return try openRecord(newest, of: point.locator) }
        try checkVault(point.locator)
        return try point.open(with: try recordKey(of: point.wrap, in: point.locator.point))
    }

    /// Opens the record that a redaction puts in place of a point's.
    package func openRecord(_ redaction: RedactionRecord, of locator: PointLocator) throws -> PointRecord {
        try checkVault(locator)
        return try redaction.open(with: try recordKey(of: redaction.wrap, in: locator.point), locator: locator)
    }

    private func checkVault(_ locator: PointLocator) throws {
        guard locator.vault == vault else {
            throw HoldfastError(.damaged, "The point belongs to vault \(locator.vault), not to this one.")
        }
    }
}
