package import Model
package import Vault

/// What the owner of a vault does with it, beside writing and reading: looking after it, deleting, holding, its keys.
///
/// Two implementations: one on the vault itself, and one that asks a server, which does long work as a job. Commands are
/// written once, for either.
package protocol VaultAdministration: AnyObject, Sendable {
    /// What the vault is.
    var config: VaultConfig { get throws }
    /// Whether opening blobs needs no keys of the caller's: a server has its own.
    var hasKeys: Bool { get throws }

    func overview() throws -> VaultOverview

    /// See `LocalVault.verify`. `request.progress` is called as the work goes on; throwing there stops it.
    func verify(_ request: VerificationRequest) throws -> VerificationReport
    /// See `LocalVault.planCollection`.
    func planCollection(options: CollectionOptions) throws -> CollectionPlan
    /// See `LocalVault.reclaim`.
    func reclaim(options: CollectionOptions) throws -> CollectionReport
    /// Makes the catalog anew.
    func rebuild() throws -> RebuildReport

    /// Why a point cannot be deleted; `nil` when it can.
    func objection(to id: PointID, among points: [PointSummary], includesNewest: Bool) -> HoldfastError?
    /// See `LocalVault.deletePoints`.
    func deletePoints(_ ids: [PointID], includesNewest: Bool) throws

    func holds() throws -> [HoldRecord.Content]
    /// Places or releases a hold. `signing` is asked for the vault's signing key unless `hasKeys`.
    func place(_ hold: HoldRecord.Content, signing: () throws -> SigningKey) throws

    /// `config.json` and the files below `keys/`, with which who knows a secret of theirs opens the vault.
    func keyMaterial() throws -> KeyMaterial
    /// Adds a key slot. `false` when its number was taken meanwhile.
    func add(_ slot: KeySlot) throws -> Bool
    func remove(_ slot: KeySlot) throws
}

/// The files with which a vault is opened, as they lie in it.
package struct KeyMaterial: Sendable {
    /// The bytes of `config.json`.
    package var config: [UInt8]
    /// Names without `keys/`.
    package var files: [(name: String, bytes: [UInt8])]

    package init(config: [UInt8], files: [(name: String, bytes: [UInt8])]) {
        self.config = config
        self.files = files
    }

    /// Reads them from a store.
    package init(_ store: any BlobStore) throws {
        config = try store.get(VaultConfig.fileName, atMost: 1 << 20)
        var names: [String] = []
        try store.list(KeyFiles.prefix) { object in
            names.append(object.key)
            return names.count < 2_048
        }
        files = try names.sorted().map { key in
            (String(key.dropFirst(KeyFiles.prefix.count)), try store.get(key, atMost: KeyFiles.maximumLength))
        }
    }
}

/// A vault in numbers.
package struct VaultOverview: Sendable {
    package var config: VaultConfig
    package var statistics: CatalogStatistics
    /// Of the file system below it; `nil` when nothing is known.
    package var space: StoreSpace?

    package init(config: VaultConfig, statistics: CatalogStatistics, space: StoreSpace?) {
        self.config = config
        self.statistics = statistics
        self.space = space
    }
}
