package import Model

/// Where sealed packs of blobs go: a vault, or what keeps them until a vault can be reached.
package protocol BlobIntake: AnyObject, Sendable {
    /// Which of `blobs` must be sent: `true` means not present. At most `VaultLimits.missingBatch` blobs.
    ///
    /// What is answered as present (`false`) stays present while the lease is live. A machine is answered by its own copies
    /// and by checked ones. A copy that only another machine sent is opened and checked first, which takes the content
    /// key and a vault that knows the secret; else it must be sent again. So nobody can poison what others rely on.
    ///
    /// - Throws: `leaseLost`, `usage` for too many blobs.
    func missing(_ blobs: [BlobQuestion], lease: LeaseID) throws -> [Bool]

    /// Stores a pack of class data or meta and registers its blobs. Sending the same pack again is fine.
    ///
    /// Check and registration are one transaction: either all that the pack's blobs name is present or nothing of the
    /// pack is registered. A blob may name blobs that stand before it in the same pack.
    ///
    /// - Throws: `missingBlobs` with the list in `blobs`; `condemned` when the collector is removing a pack of this name
    ///   (pack the blobs anew); `leaseLost`; `noSpace`; `damaged` for a pack that breaks the format's rules; `denied` for one
    ///   whose writer is not the machine of the lease.
    func store(_ pack: SealedPack, lease: LeaseID) throws
}

/// Where sealed blobs come from.
package protocol BlobSource: AnyObject, Sendable {
    /// Hands the framed bytes of each of `ids` to `body`, once each, in the order in which they lie in the packs.
    ///
    /// A copy that is not what it should be is recorded as damaged and the next copy is tried; `body` says the same of a
    /// copy that does not open by throwing `damaged`. When it throws `misnamed` the next copy is tried, and nothing is
    /// recorded. The bytes are valid during the call only.
    ///
    /// - Throws: `damaged` with the list in `blobs` after everything that could be read was handed over; other errors
    ///   of `body` at once.
    func read(_ ids: [BlobID], _ body: (BlobID, UnsafeRawBufferPointer) throws -> Void) throws
}
