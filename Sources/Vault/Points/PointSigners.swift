package import Model

/// Whose signatures on points count: the keys in machines' records that the vault signed. Each record is checked once, however many
/// points follow.
package struct PointSigners: Sendable {
    /// Without a key where no record of the machine bears the vault's signature.
    private var keys: [MachineID: [VerifyingKey]] = [:]

    /// - Parameters:
    ///   - records: need not be trustworthy. A machine that joined again has several, and its older points are signed with the key of an
    ///     older one.
    ///   - vault: the public half of the vault's signing key.
    package init(_ records: some Sequence<MachineRecord>, of vault: VerifyingKey) {
        for record in records {
            keys[record.machine, default: []] += (try? record.verify(with: vault)) == nil ? [] : [record.key]
        }
    }

    /// Whether there is a record of the machine, trustworthy or not.
    package func hasRecord(of machine: MachineID) -> Bool { keys[machine] != nil }

    /// Throws `damaged` unless a machine that the vault admitted signed this point.
    package func verify(_ point: SealedPoint) throws {
        for key in keys[point.locator.machine] ?? [] where (try? point.verify(with: key)) != nil { return }
        throw RecordCoding.wrongSignature("point \(point.locator.point)")
    }
}
