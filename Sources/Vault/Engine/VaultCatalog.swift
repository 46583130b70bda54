package import Model

/// The index of a vault: where each blob lies, which points exist, which leases are live.
///
/// A catalog holds nothing that cannot be rebuilt from the store, but while it is in use it carries the vault's
/// invariants, because check and change are one transaction in it:
///
/// * A blob is registered only when everything that it names is *present*.
/// * Every copy has a *mark*: the last generation in which its blob was stored, answered as present, named by a stored
///   blob or point, or reached by a collection. Present means: marked not below the *floor*, whole, in a pack that is not
///   condemned. The floor never exceeds the generation that a live lease was opened in.
/// * While a collection marks, every change that makes a blob with references needed puts it on the *frontier*, so that
///   when the frontier is empty the survivors are closed under references, whatever writers did meanwhile.
///
/// Every method is one transaction and may be called from several threads and processes at once. A method that answers has
/// changed the catalog; those documented as *durable* have brought it to stable storage.
package protocol VaultCatalog: AnyObject, Sendable {
    /// The vault that the catalog belongs to.
    var vault: VaultID { get }

    /// Generation, floor and the state of collection.
    func position() throws -> CatalogPosition
    /// Whether this is the catalog that worked last on this store, and not one put back from an earlier day or rolled
    /// back by a power cut. The witness stands beside the catalog and changes with everything that counts.
    func agreesWithWitness() throws -> Bool
    /// Says that catalog and store have been compared: from now on the catalog agrees with its witness, and knows of the
    /// removals up to the given number. While it does not agree, no other transaction makes it agree.
    func renewWitness(removals: UInt64) throws
    /// The number of the last removal that the catalog knows of; see `announceRemoval`.
    func removals() throws -> UInt64
    /// Raises the number of removals above the given one and its own, and answers it with all packs that are condemned now:
    /// whatever is deleted under that number is condemned in every state of the catalog that has it. Durable.
    func announceRemoval(above number: UInt64) throws -> (number: UInt64, packs: [PackEntry])

    // MARK: Leases

    /// Registers a lease at the current generation, pinning what the points name. Answers the generation.
    func openLease(_ lease: LeaseEntry, pinning points: [PointID]) throws -> UInt64
    /// The registered leases.
    func leases() throws -> [LeaseEntry]
    /// A registered lease.
    func lease(_ id: LeaseID) throws -> LeaseEntry?
    /// Forgets leases and their pins. Unknown ones are fine.
    func closeLeases(_ ids: [LeaseID]) throws

    // MARK: Blobs and packs

    /// Which of the blobs are present for the machine of the lease; what is present is marked so that it stays while the
    /// lease is live.
    func presence(of ids: [BlobID], lease: LeaseID) throws -> [BlobPresence]
    /// Registers a pack and its blobs. With a lease: all or nothing, `missingBlobs` lists what is named and not present.
    /// Without (a pack found in the store): blobs that name something that is not present become `incomplete`.
    /// Registering a pack again is fine; `condemned` when the name is.
    ///
    /// Answers whether there are blobs that were not whole and that it may have completed.
    @discardableResult
    func register(_ pack: PackEntry, blobs: [PackedBlob], lease: LeaseID?) throws -> Bool
    /// All copies of the blobs, in the order of packs and offsets; nothing for unknown blobs.
    func copies(of ids: [BlobID]) throws -> [BlobCopy]
    /// For each of the blobs whether it is present. Promises nothing.
    func present(_ ids: [BlobID]) throws -> [Bool]
    /// Records what was found out about copies. Answers how many copies changed. A copy with false contents does not
    /// become `damaged`: bytes that are put back must not acquit it.
    @discardableResult
    func setCondition(_ condition: BlobCondition, of copies: [CopyReference]) throws -> Int
    /// Copies that are not whole, ordered by id, after the given one.
    func unwellCopies(after: CopyReference?, limit: Int) throws -> [BlobCopy]
    /// How many copies are damaged (or have false contents) and how many incomplete.
    func unwellCounts() throws -> (damaged: Int, incomplete: Int)
    /// Not zero when copies became damaged or lost since the conditions of the blobs above them were worked out.
    func unpropagatedDamage() throws -> Int64
    /// Says that the conditions were worked out after `unpropagatedDamage` answered `count`.
    func setDamagePropagated(_ count: Int64) throws
    /// Packs in the order of registration, after the one with the given number; all states.
    func packs(after number: Int64, limit: Int) throws -> [PackEntry]
    /// A pack by its name.
    func pack(_ name: PackName) throws -> PackEntry?
    /// The packs of the names, in their order; `nil` for unknown ones. For lists of a whole store.
    func packs(_ names: [PackName]) throws -> [PackEntry?]
    /// Says that packs are gone from the store. They become `lost`: what lay in them is remembered, with its type, until
    /// nothing needs it or the packs come back. Points without a record in another pack become damaged, and what they name
    /// stays needed until they are deleted. Durable.
    ///
    /// - Parameter forgetting: for a catalog from before a removal: it was the collector that removed the packs since, as far
    ///   as anybody can tell. Their blobs are forgotten, and points without another record. Holds are not: nothing deletes them.
    func dropPacks(_ numbers: [Int64], forgetting: Bool) throws
    /// Records that a pack was checked at a level.
    func setChecked(_ number: Int64, level: VerificationLevel, at: Timestamp) throws
    /// Records that the copies were opened and matched their content keys.
    func setChecked(_ copies: [CopyReference], at: Timestamp) throws
    /// What the vault holds.
    func statistics() throws -> CatalogStatistics

    // MARK: Points and other records

    /// Adds a point. `write` is called inside the transaction after all checks with the receipt and must bring the record
    /// into the store; the catalog's row follows it, so that the store is the truth. Durable.
    ///
    /// - Throws: `leaseLost`, `missingBlobs`, `headMoved`.
    func commit(
        _ point: PointEntry, lease: LeaseID, now: Timestamp, write: (Timestamp) throws -> StoredRecordPack
    ) throws -> CommitReceipt
    /// Adds several points with the packs that each brings along, in one transaction. Each is taken or refused on its own:
    /// of one that is refused nothing is registered. `write` is called with the places of those that are taken and not there
    /// already, after all checks; it must bring their records into the store, in one pack. Durable.
    ///
    /// - Parameter batch: of each machine at most one.
    /// - Returns: for each its receipt or why it was refused (`leaseLost`, `missingBlobs`, `headMoved`, `condemned`), and
    ///   whether there are blobs that what was registered may have completed.
    func commit(
        _ batch: [PointCommit], now: Timestamp, write: ([Int]) throws -> StoredRecordPack
    ) throws -> (receipts: [Result<CommitReceipt, any Error>], mayComplete: Bool)
    /// Adds machines, holds and redactions. Durable.
    func add(_ pack: StoredRecordPack, now: Timestamp) throws
    /// Adds the records of class 3 packs found in the store, in their order: one row for every copy of a record. Points that are known
    /// stay as they are, but for one outside its chain that is found to be signed after all. A point that is not signed,
    /// or whose number another has, is `outOfChain`. Of several redactions of a point the newest counts; those of unknown
    /// points change nothing. More blobs in the pack's entry than records have rows means that some could not be read.
    /// The cost is that of ordering each machine's points once, so many packs are better adopted at once.
    func adopt(_ packs: [StoredRecordPack], now: Timestamp) throws
    /// Points by effective time, oldest first. `now` is the vault's clock.
    func points(_ query: PointQuery, now: Timestamp) throws -> [PointSummary]
    /// Machine and hash of points, whichever of them there are. Costs no more in a large vault than in a small one.
    func places(of points: [PointID]) throws -> [PointID: PointPlace]
    /// All points, or those of one machine, in the order in which `points` lists them.
    func order(of machine: MachineID?, now: Timestamp) throws -> [PointID]
    /// Records what was found out about points.
    func setCondition(_ condition: PointSummary.Condition, of points: [PointID]) throws
    /// Where the copies of a point's record lie, the one that its row was made from first. None when it is lost.
    func records(of point: PointID) throws -> [RecordLocation]
    /// All copies of the records of a type that lie in stored packs, oldest records first.
    func records(of type: BlobType) throws -> [RecordLocation]
    /// The copies of a record that lie in stored packs.
    func records(named id: BlobID) throws -> [RecordLocation]
    /// Records of a type of which no copy is left in a stored pack.
    func lostRecords(of type: BlobType) throws -> [RecordLocation]
    /// The stored packs that hold anything about the points: every copy of their records, and their redactions.
    func recordPacks(about points: [PointID]) throws -> [PackEntry]
    /// Stored packs of class 3 with records that could not be read when they were found.
    func recordPacksWithGaps() throws -> [PackEntry]
    /// Gives up what could not be read in packs of class 3.
    func forgiveGaps(_ packs: [Int64]) throws
    /// The records that lie in a pack, by offset.
    func records(inPack number: Int64) throws -> [RecordLocation]
    /// The heads of the machine's incarnations, the one that was written last first.
    func heads(of machine: MachineID) throws -> [MachineHead]
    /// Moves records into a new pack (or nowhere, when there is none left), deletes the points that no other pack holds a
    /// record of, and condemns the old packs. Durable. The new pack must be in the store.
    ///
    /// - Throws: `busy` when the holds are not those that were looked at, or a record would be left behind.
    func replaceRecordPacks(_ old: [Int64], with new: StoredRecordPack?, _ change: RecordChange) throws

    // MARK: Collection

    /// Raises the generation and puts the roots that points and pins name on the frontier; when a collection is in its
    /// marking phase already, answers that one.
    func beginMarking() throws -> CatalogPosition
    /// Goes on over the blobs with references that were marked since the oldest live lease and puts them on the frontier, but
    /// for incomplete ones, which nobody was promised; `false` when there are no more.
    func seedRecentlyMarked(limit: Int) throws -> Bool
    /// Blobs whose references are to be followed next, one whole copy each when there is one, by pack and offset.
    func frontier(limit: Int) throws -> [FrontierBlob]
    /// Marks what the blobs name, and takes the blobs off the frontier. A name that no copy has comes on it.
    func reach(_ expanded: [(blob: BlobID, references: [BlobID])]) throws
    /// What would stay of each stored pack if rows below the threshold were cleared now. Changes nothing.
    func liveContents(threshold: UInt64, _ body: (PackEntry) throws -> Void) throws
    /// When the frontier is empty and all roots are on it: sets the floor and answers `true`.
    func finishMarking() throws -> Bool
    /// Gives up a collection before its floor was set; what was marked stays marked.
    func abandonMarking() throws
    /// Clears a bounded number of rows below the floor, counting what lives by pack; `false` when done. Durable at the end.
    func sweep(limit: Int) throws -> Bool
    /// All blobs of a pack, by a search through the whole catalog: for packs whose own list cannot be read.
    func blobs(inPack number: Int64) throws -> [BlobID]
    /// Condemns a pack when none of the blobs (all that its footer lists) is live in it. Durable.
    func condemn(_ number: Int64, listing ids: [BlobID]) throws -> Bool
    /// Registers a pack into which the live blobs of `old` were copied verbatim, with the marks that the copies had they
    /// were made from, and condemns those of the old packs of which every live blob has another whole copy that can be
    /// believed: in the new pack, of the same origin, or opened and found right. Durable. Answers the condemned ones.
    func replacePacks(
        _ old: [(number: Int64, ids: [BlobID])], with new: PackEntry, blobs: [MovedBlob]
    ) throws -> [Int64]
    /// Packs that are condemned and whose objects are still to be deleted.
    func condemnedPacks() throws -> [PackEntry]
    /// Says that the objects of condemned packs are gone from the store. Their names stay refused until every lease that
    /// was live meanwhile has ended.
    func packsDeleted(_ numbers: [Int64]) throws
    /// The collection is finished; names that no lease can still send are forgotten.
    func finishCollection() throws
}

extension VaultCatalog {
    /// The same when no removal is known.
    package func renewWitness() throws { try renewWitness(removals: 0) }
    /// Adopts one pack of class 3.
    package func adopt(_ pack: StoredRecordPack, now: Timestamp) throws { try adopt([pack], now: now) }
}

/// Whose a point is, and which.
package struct PointPlace: Hashable, Sendable {
    package var machine: MachineID
    package var hash: LocatorHash

    package init(machine: MachineID, hash: LocatorHash) {
        self.machine = machine
        self.hash = hash
    }
}

/// Where a catalog stands.
package struct CatalogPosition: Hashable, Sendable {
    /// What collection is doing.
    package enum Phase: Int64, Sendable {
        case idle = 0
        /// Following references from the roots.
        case marking = 1
        /// The floor is set; rows below it are being cleared.
        case sweeping = 2
        /// Rows are cleared; packs are being rewritten and deleted.
        case reclaiming = 3
    }
    package var generation: UInt64
    package var floor: UInt64
    package var phase: Phase
    /// The floor that the running collection is going to set.
    package var threshold: UInt64
    /// The last pack that the running collection looks at.
    package var packLimit: Int64

    package init(generation: UInt64, floor: UInt64, phase: Phase, threshold: UInt64, packLimit: Int64) {
        self.generation = generation
        self.floor = floor
        self.phase = phase
        self.threshold = threshold
        self.packLimit = packLimit
    }
}

/// A registered lease.
package struct LeaseEntry: Hashable, Sendable {
    package enum Kind: Int64, Sendable {
        /// Pins what points name.
        case reader = 0
        /// Was promised that what it stored and asked for stays.
        case writer = 1
        /// A collection or deletion at work: it may leave packs behind that the catalog does not know.
        case maintenance = 2
        /// A comparison at work: what it registers stays until what names it is registered too.
        case adoption = 3
    }
    package var id: LeaseID
    package var kind: Kind
    /// The generation in which it was opened; ignored when it is being opened.
    package var generation: UInt64
    /// For writers.
    package var machine: MachineID?
    package var opened: Timestamp

    package init(id: LeaseID, kind: Kind, generation: UInt64 = 0, machine: MachineID? = nil, opened: Timestamp) {
        self.id = id
        self.kind = kind
        self.generation = generation
        self.machine = machine
        self.opened = opened
    }
}

/// A pack as the catalog knows it.
package struct PackEntry: Hashable, Sendable {
    package enum State: Int64, Sendable {
        case stored = 0
        /// The collector is removing it.
        case condemned = 1
        /// Removed from the store; the name is refused until nobody can still be sending it.
        case deleted = 2
        /// Gone from the store without the collector's doing. It is welcome back.
        case lost = 3
    }
    /// In the order of registration; 0 before it.
    package var number: Int64
    package var name: PackName
    package var packClass: PackClass
    /// The machine whose blobs it holds; for packs found in the store the writer of the header.
    package var origin: WriterID
    /// Length of the object.
    package var bytes: UInt64
    package var blobCount: Int
    package var state: State
    /// As counted by the last collection.
    package var liveBytes: UInt64
    package var liveBlobs: Int
    /// When it was checked last at each level; zero for never.
    package var checkedStructure: Timestamp
    package var checkedPack: Timestamp
    package var checkedData: Timestamp

    package init(
        number: Int64 = 0, name: PackName, packClass: PackClass, origin: WriterID, bytes: UInt64, blobCount: Int,
        state: State = .stored, liveBytes: UInt64 = 0, liveBlobs: Int = 0,
        checkedStructure: Timestamp = Timestamp(nanoseconds: 0), checkedPack: Timestamp = Timestamp(nanoseconds: 0),
        checkedData: Timestamp = Timestamp(nanoseconds: 0)
    ) {
        self.number = number
        self.name = name
        self.packClass = packClass
        self.origin = origin
        self.bytes = bytes
        self.blobCount = blobCount
        self.state = state
        self.liveBytes = liveBytes
        self.liveBlobs = liveBlobs
        self.checkedStructure = checkedStructure
        self.checkedPack = checkedPack
        self.checkedData = checkedData
    }
}

/// What is known about a copy of a blob.
package enum BlobCondition: Int64, Sendable {
    case whole = 0
    /// Its bytes are not what they should be.
    case damaged = 1
    /// Its bytes are right, but something that it names, itself or further down, is damaged or lost.
    case incomplete = 2
    /// Its bytes are those that were stored, but they do not open, or hold something else than their content key says:
    /// sealed from faulty memory, or by somebody who poisons. Only opening it can acquit it.
    case falseContents = 3

    /// Whether the copy itself is bad, whatever lies below it.
    package var isBad: Bool { self == .damaged || self == .falseContents }
}

/// One copy of a blob: which blob, in which pack.
package struct CopyReference: Hashable, Sendable {
    package var id: BlobID
    package var pack: Int64

    package init(id: BlobID, pack: Int64) {
        self.id = id
        self.pack = pack
    }
}

/// One copy of a blob and where it lies.
package struct BlobCopy: Hashable, Sendable {
    package var id: BlobID
    package var pack: Int64
    package var packName: PackName
    package var type: BlobType
    package var encoding: BlobEncoding
    package var secretNumber: UInt16
    package var referenceCount: Int
    package var sealedLength: UInt32
    package var offset: UInt64
    package var mark: UInt64
    package var condition: BlobCondition
    /// When it was last opened and found right; zero for never.
    package var checked: Timestamp

    /// Bytes of header, references and what is sealed.
    package var framedLength: Int { 60 + 32 * referenceCount + Int(sealedLength) }
    /// Where the framed blob lies in the pack.
    package var range: Range<UInt64> { offset..<(offset + UInt64(framedLength)) }
    package var reference: CopyReference { CopyReference(id: id, pack: pack) }

    /// Whether a blob can lie there: a catalog is bytes on a disk too, and nothing counts with its numbers before this.
    package var isPlausible: Bool {
        offset <= UInt64(FormatLimits.packLength)
            && BlobFrame.isPlausible(
                type: type, encoding: encoding, secretNumber: secretNumber, references: referenceCount,
                sealed: Int(sealedLength))
    }

    package init(
        id: BlobID, pack: Int64, packName: PackName, type: BlobType, encoding: BlobEncoding, secretNumber: UInt16,
        referenceCount: Int, sealedLength: UInt32, offset: UInt64, mark: UInt64, condition: BlobCondition,
        checked: Timestamp
    ) {
        self.id = id
        self.pack = pack
        self.packName = packName
        self.type = type
        self.encoding = encoding
        self.secretNumber = secretNumber
        self.referenceCount = referenceCount
        self.sealedLength = sealedLength
        self.offset = offset
        self.mark = mark
        self.condition = condition
        self.checked = checked
    }
}

/// A blob in a new pack, and the pack that it was copied from.
package struct MovedBlob: Sendable {
    /// As it lies in the new pack: read from the bytes that were copied.
    package var blob: PackedBlob
    /// The number of the pack that these bytes come from.
    package var source: Int64

    package init(blob: PackedBlob, source: Int64) {
        self.blob = blob
        self.source = source
    }
}

/// A blob on the frontier with its copies, whole ones first. No copies: it is named and lost.
package struct FrontierBlob: Sendable {
    package var id: BlobID
    package var copies: [BlobCopy]

    package init(id: BlobID, copies: [BlobCopy]) {
        self.id = id
        self.copies = copies
    }
}

/// What the catalog keeps of a point.
package struct PointEntry: Hashable, Sendable {
    package var id: PointID
    package var machine: MachineID
    package var incarnation: IncarnationID
    package var number: UInt64
    package var time: Timestamp
    package var kind: PointKind
    package var isPartial: Bool
    package var isPinned: Bool
    /// See `PointLocator.series`.
    package var series: UInt64
    package var hash: LocatorHash
    package var previous: LocatorHash
    package var references: [BlobID]
    /// From the receipt; ignored by a commit, which writes the receipt.
    package var arrival: Timestamp

    package init(
        id: PointID, machine: MachineID, incarnation: IncarnationID, number: UInt64, time: Timestamp, kind: PointKind,
        isPartial: Bool, isPinned: Bool, series: UInt64 = 0, hash: LocatorHash, previous: LocatorHash,
        references: [BlobID],
        arrival: Timestamp
    ) {
        self.id = id
        self.machine = machine
        self.incarnation = incarnation
        self.number = number
        self.time = time
        self.kind = kind
        self.isPartial = isPartial
        self.isPinned = isPinned
        self.series = series
        self.hash = hash
        self.previous = previous
        self.references = references
        self.arrival = arrival
    }
}

/// A record of class 3 and where it lies in its pack.
package struct RecordEntry: Sendable {
    package var id: BlobID
    package var type: BlobType
    /// The point, machine or hold it is about: 16 bytes.
    package var subject: [UInt8]
    /// When it was made, for records of which the newest counts.
    package var time: Timestamp
    /// Of the framed record in its pack.
    package var offset: UInt64
    /// Of the framed record, in bytes.
    package var length: Int
    /// For points.
    package var point: PointEntry?
    /// For redactions: what the point names from now on.
    package var references: [BlobID]
    /// For points found in the store: whether the machine's key says that it is the machine's.
    package var isSigned = true

    package init(
        id: BlobID, type: BlobType, subject: [UInt8], time: Timestamp, offset: UInt64, length: Int,
        point: PointEntry? = nil, references: [BlobID] = []
    ) {
        self.id = id
        self.type = type
        self.subject = subject
        self.time = time
        self.offset = offset
        self.length = length
        self.point = point
        self.references = references
    }
}

/// A class 3 pack that is in the store, with its records.
package struct StoredRecordPack: Sendable {
    package var pack: PackEntry
    package var records: [RecordEntry]

    package init(pack: PackEntry, records: [RecordEntry]) {
        self.pack = pack
        self.records = records
    }
}

/// A point to be committed, with the packs that it brings along; these are in the store already.
package struct PointCommit: Sendable {
    package var point: PointEntry
    package var lease: LeaseID
    /// In the order in which they are registered.
    package var packs: [(entry: PackEntry, blobs: [PackedBlob])]

    package init(point: PointEntry, lease: LeaseID, packs: [(entry: PackEntry, blobs: [PackedBlob])] = []) {
        self.point = point
        self.lease = lease
        self.packs = packs
    }
}

/// What is to become of records when their packs are rewritten.
package struct RecordChange: Sendable {
    /// Points to be deleted.
    package var deleting: [PointID] = []
    /// The records of holds that were looked at before; `nil` when nothing is deleted.
    package var holds: Set<BlobID>?
    /// Records that could not be copied because nothing can be read of them.
    package var unreadable: Set<BlobID> = []

    package init(deleting: [PointID] = [], holds: Set<BlobID>? = nil) {
        self.deleting = deleting
        self.holds = holds
    }
}

/// Where a record lies.
package struct RecordLocation: Hashable, Sendable {
    package var id: BlobID
    package var type: BlobType
    package var subject: [UInt8]
    package var time: Timestamp
    package var pack: Int64
    package var packName: PackName
    package var offset: UInt64
    package var length: Int

    /// Whether a record can lie there.
    package var isPlausible: Bool {
        offset <= UInt64(FormatLimits.packLength) && length > BlobFrame.headerLength
            && length <= BlobFrame.headerLength + 32 * FormatLimits.references + FormatLimits.recordLength
            && type.packClass == .points
    }

    package init(
        id: BlobID, type: BlobType, subject: [UInt8], time: Timestamp, pack: Int64, packName: PackName, offset: UInt64,
        length: Int
    ) {
        self.id = id
        self.type = type
        self.subject = subject
        self.time = time
        self.pack = pack
        self.packName = packName
        self.offset = offset
        self.length = length
    }
}

/// What a writer may rely on.
package enum BlobPresence: Sendable {
    case missing
    /// A whole copy that the writer itself sent, or one that was opened and compared with its content key.
    case present
    /// Only other machines sent it, and nobody checked what they sent.
    case unchecked
}

/// How deeply a vault is checked.
package enum VerificationLevel: String, Sendable, CaseIterable {
    /// Every reference resolves. Needs no key.
    case structure
    /// The stored bytes of every pack match its name. Needs no key.
    case packs
    /// Every blob opens and matches its content key.
    case data
}

/// Totals of a catalog.
package struct CatalogStatistics: Hashable, Sendable {
    /// One class of packs.
    package struct PerClass: Hashable, Sendable {
        package var packs = 0
        package var bytes: UInt64 = 0
        package var blobs = 0
        package init() {}
    }
    package var data = PerClass()
    package var meta = PerClass()
    package var records = PerClass()
    package var points = 0
    package var machines = 0
    /// Bytes of packs by the machine (or writer) whose blobs they hold.
    package var bytesByOrigin: [WriterID: UInt64] = [:]
    /// Copies that are damaged, and that name something damaged or lost.
    package var damaged = 0
    package var incomplete = 0
    /// Bytes of condemned packs that are still to be deleted.
    package var condemnedBytes: UInt64 = 0

    package init() {}
}

/// A small value that stands beside the catalog and is changed before each transaction that counts.
///
/// A catalog that was put back from an earlier day, or lost its last transactions in a power cut, disagrees with it; then
/// store and catalog are compared before anything relies on the catalog. What is put back together with its witness is found
/// out by the removals in the store.
package protocol CatalogWitness: AnyObject, Sendable {
    /// The value written last; `nil` when there is none.
    func read() throws -> UInt64?
    /// Replaces the value. It need not be durable: an older value only costs a comparison.
    func write(_ value: UInt64) throws
}
