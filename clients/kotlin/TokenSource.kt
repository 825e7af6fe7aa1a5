/*
 * Client of juspay-bff for Android apps with HyperSDK. One file without dependencies: copy it into your app.
 * docs/clients/android.md explains how to use it.
 *
 * - fetch, refresh, initiate and process block: call them on a background thread, such as
 *   withContext(Dispatchers.IO).
 * - Keeps the client auth token in memory only, and measures its life by a monotonic clock that counts sleep.
 *   The phone's wall clock may be wrong: it is used only to write authExpiry, which the SDK compares with
 *   that clock.
 * - Callers at the same time share one request.
 * - Retries an error only if the service says so, after the time that it says, within timeoutMs. Network
 *   failures are retried after short waits.
 * - Calls onLogout only if the service rejects the access token as invalid_token or expired_token, and the
 *   renewed one too. No other error is about the user's session.
 * - Does not make DPoP proofs.
 */
package juspaybff

import java.io.ByteArrayOutputStream
import java.io.IOException
import java.io.InputStream
import java.net.HttpURLConnection
import java.net.SocketTimeoutException
import java.net.URL
import java.text.SimpleDateFormat
import java.util.Date
import java.util.Locale
import java.util.TimeZone
import java.util.UUID
import java.util.concurrent.Callable
import java.util.concurrent.ExecutionException
import java.util.concurrent.Executors
import java.util.concurrent.FutureTask
import java.util.concurrent.TimeUnit
import java.util.concurrent.TimeoutException
import kotlin.math.ceil
import kotlin.math.max
import kotlin.math.min
import org.json.JSONException
import org.json.JSONObject

/** The product: Express Checkout SDK (EC Headless), or UPI SDKs. It must equal the service's `sdk.profile`. */
enum class Profile { EC, UPI }

/** Only for [Profile.EC], whose `initiate` payload the client builds without a request. */
class EcApp(
    val merchantId: String,
    val clientId: String,
    val customerId: String,
    val environment: String,
    val service: String = "in.juspay.hyperapi",
)

/**
 * @property baseUrl address of the service, such as `https://api.example.com`, without `/me`.
 * @property accessToken returns the signed-in user's access token. With `renew`, the service rejected the last
 * one: get a new one from the identity provider. Runs on a background thread.
 * @property platform selects the client id, if the service has one for each platform.
 * @property onLogout called on a background thread when the user must sign in again.
 * @property onError called on a background thread when `attach` could not answer `session_expired`. The client
 * ignores exceptions of this function and of `onLogout`.
 * @property timeoutMs time limit of a call, retries included. Keep it above the service's own limit of 5 s.
 * @property transport for tests.
 * @property clock for tests.
 */
class Options(
    val baseUrl: String,
    val accessToken: (renew: Boolean) -> String,
    val profile: Profile,
    val platform: String? = null,
    val ec: EcApp? = null,
    val onLogout: () -> Unit = {},
    val onError: (TokenError) -> Unit = {},
    val timeoutMs: Long = 10_000,
    val transport: Transport = UrlConnectionTransport,
    val clock: Clock = PhoneClock,
)

/** A client auth token. */
class Token internal constructor(
    val clientAuthToken: String,
    /** `x-routing-id`, for an app that calls Juspay itself with the token. */
    val routingId: String,
    /** The tenant for the constructor of `HyperServices`. */
    val tenantId: String?,
    private val expiresAt: Long,
    internal val refreshAt: Long,
    /** Numbers requests by their start. */
    internal val order: Long,
    private val clock: Clock,
) {
    /** Guarded by the lock of its source. */
    internal var uses = 0

    /** How long the token lives from now on. */
    fun remainingMs(): Long = expiresAt - clock.monotonic()

    /** The end of its life by the phone's wall clock, right or wrong: ISO 8601 with milliseconds. */
    fun authExpiry(): String {
        val format = SimpleDateFormat("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'", Locale.US)
        format.timeZone = TimeZone.getTimeZone("UTC")
        return format.format(Date(clock.wall() + remainingMs()))
    }
}

/** What `attach` returns. */
interface Attachment {
    /** Pass each event of the SDK. True: the event is answered. Returns at once. */
    fun onEvent(event: JSONObject): Boolean

    fun detach()
}

class HttpRequest(val method: String, val url: String, val headers: Map<String, String>, val timeoutMs: Long)

class HttpReply(val status: Int, val retryAfter: String?, val text: String)

fun interface Transport {
    /** @throws IOException if there is no answer. */
    fun send(request: HttpRequest): HttpReply
}

/** Times in milliseconds. */
interface Clock {
    /** Never jumps, and is not comparable with dates. */
    fun monotonic(): Long

    /** The phone's date and time, which may be wrong. */
    fun wall(): Long

    fun sleep(ms: Long)
}

/**
 * Why there is no token.
 *
 * @property code a code of the service's documentation, or `network`, `timeout`, `unexpected_response` (not from
 * the service), `access_token` (`accessToken` failed), `signed_out` (`invalidate` was called) or `internal` (a
 * fault of this client or of a function that the app passed).
 * @property retryable whether the same call may succeed later.
 * @property retryAfter seconds to wait before that.
 * @property requestId for error reports: the operator finds the cause with it.
 */
class TokenError(
    val code: String,
    val status: Int,
    val retryable: Boolean,
    val retryAfter: Double? = null,
    val requestId: String? = null,
    cause: Throwable? = null,
) : Exception(if (requestId == null) code else "$code (request $requestId)", cause)

/** The source of one user's client auth tokens. Create it at sign-in, and call `invalidate` at sign-out. */
class TokenSource(private val options: Options) {
    private val clock = options.clock
    private val lock = Any()
    private val shortCallMs = min(SHORT_CALL_MS, options.timeoutMs)

    // All guarded by lock.
    private var token: Token? = null
    private val answers = HashMap<String, Answer>()
    private val flights = HashMap<String, Flight>()
    private var renewal: FutureTask<Loaded>? = null
    private var accessTokenRenewal: FutureTask<String>? = null

    /** The last token that the SDK rejected. It is never returned again. */
    private var ended: String? = null

    /** There is no other token yet. */
    private var mustRenew = false

    /** The text of the newest token, also after `wake`. */
    private var latest: String? = null

    /** Counts users. */
    private var generation = 0

    /** Counts returns from the background. */
    private var wakes = 0
    private var requests = 0L

    /**
     * Returns a client auth token, from memory if possible. [minFresh]: seconds that it should live, for a step
     * that takes long. If no token lives that long, returns the best one.
     *
     * @throws TokenError
     */
    fun fetch(minFresh: Long = 0): Token = load(ANY, minFresh).token

    /**
     * Returns a new token, because the SDK rejected the last one. Never returns the last one again.
     *
     * @throws TokenError
     */
    fun refresh(): Token {
        endLatest()
        return counted(renew()).token
    }

    /** Forgets the user, at sign-out. Calls in progress fail with `signed_out`. */
    fun invalidate() = synchronized(lock) {
        generation += 1
        wake()
        ended = null
        mustRenew = false
        latest = null
        renewal = null
        accessTokenRenewal = null
    }

    /**
     * Forgets how long the token lives. Not needed on Android, whose monotonic clock counts the time in which the
     * phone sleeps. The next call goes to the service. A running renewal goes on.
     */
    fun wake() = synchronized(lock) {
        wakes += 1
        token = null
        answers.clear()
        flights.clear()
    }

    /** Has the service fetch the token in advance, for example when the app starts. Returns at once; never fails. */
    fun prepare() = threads.execute {
        try {
            call(Call("POST", "/me/prepare", emptyMap(), isShort = false), 1) { }
        } catch (@Suppress("TooGenericExceptionCaught") _: Exception) {
            // The next call reports the error.
        }
    }

    /**
     * The request for the SDK's `initiate`. Call that once: a second call is the SDK's error JP_017.
     *
     * @throws TokenError
     */
    fun initiate(): JSONObject {
        if (options.profile == Profile.UPI) return envelope(load(INITIATE, 0), JSONObject())
        val ec = requireNotNull(options.ec) { "the profile EC needs options.ec" }
        val payload = JSONObject()
            .put("action", INITIATE)
            .put("merchantId", ec.merchantId)
            .put("clientId", ec.clientId)
            .put("customerId", ec.customerId)
            .put("environment", ec.environment)
        return JSONObject().put("requestId", uuid()).put("service", ec.service).put("payload", payload)
    }

    /**
     * The request for the SDK's `process` that works on the customer: your own payload with `action`, such as
     * `cardList` (EC) or `management` (UPI), plus token and customer.
     *
     * @throws TokenError
     */
    fun process(own: JSONObject, minFresh: Long = 0): JSONObject {
        require(own.optString("action") !in ORDER_ACTIONS && !own.has(CLIENT_AUTH_TOKEN)) {
            "${own.optString("action")} takes the token of Create Order: build its payload yourself"
        }
        return envelope(load(PROCESS, minFresh), own)
    }

    /**
     * Answers the SDK's `session_expired` with a new token, without calling `initiate` again. [process] passes
     * a request to the SDK; it runs on a background thread.
     */
    fun attach(process: (JSONObject) -> Unit): Attachment = object : Attachment {
        @Volatile
        private var isAttached = true

        override fun onEvent(event: JSONObject): Boolean {
            if (!isAttached || event.optString("event") !in EXPIRY_EVENTS) return false
            if (options.profile == Profile.EC) {
                // This SDK knows no updateAuth: the next `process` has a new token.
                endLatest()
                return false
            }
            endLatest()
            val generation = synchronized(lock) { generation }
            val reqCode = event.optJSONObject("payload")?.opt("reqCode")
            threads.execute { answerExpiry(process, reqCode) { isAttached && isCurrent(generation) } }
            return true
        }

        override fun detach() {
            isAttached = false
        }
    }

    private fun answerExpiry(process: (JSONObject) -> Unit, reqCode: Any?, isWanted: () -> Boolean) {
        var round = 1
        while (isWanted()) {
            val error = try {
                val envelope = envelope(counted(renew()), JSONObject().putOpt("reqCode", reqCode))
                if (isWanted()) process(envelope)
                return
            } catch (@Suppress("TooGenericExceptionCaught") failed: Exception) {
                asTokenError(failed)
            }
            val wait = waitMs(error, round)
            if (!error.retryable || round == MAX_ROUNDS || wait > MAX_ROUND_WAIT_MS) {
                if (isWanted()) tell { options.onError(error) }
                return
            }
            clock.sleep(wait)
            round += 1
        }
    }

    private fun isCurrent(generation: Int) = synchronized(lock) { generation == this.generation }

    private fun checkUser(generation: Int) {
        if (!isCurrent(generation)) throw TokenError("signed_out", 0, false)
    }

    /** The token, with the answer for [action]: from memory, from a running request, or from a new one. */
    private fun load(action: String, minFresh: Long): Loaded {
        val generation = synchronized(lock) { generation }
        while (synchronized(lock) { mustRenew }) {
            renew()
            checkUser(generation)
        }
        val held = synchronized(lock) {
            val (token, answer) = Pair(token, answerFor(action))
            val held = if (token == null || answer == null) null else Loaded(answer, token)
            if (held != null && isFresh(held.token, minFresh)) return counted(held)
            held
        }
        val isShort = isUsable(held)
        try {
            val task = join(generation, if (action == ANY) PROCESS else action, minFresh, isShort)
            val loaded = newest(await(task, if (isShort) shortCallMs else options.timeoutMs))
            checkUser(generation)
            return counted(loaded)
        } catch (error: TokenError) {
            if (held != null && isUsable(held) && !isAboutUser(error)) return held
            throw error
        }
    }

    /** From memory. The `process` of UPI SDKs takes what `initiate` takes, without [INITIATE_MEMBERS]. */
    private fun answerFor(action: String): Answer? {
        if (action == ANY) return answers.values.firstOrNull()
        return answers[action] ?: answers[INITIATE]?.takeIf { action == PROCESS }?.without(INITIATE_MEMBERS)
    }

    private fun isFresh(token: Token, minFresh: Long) =
        clock.monotonic() < token.refreshAt && token.remainingMs() >= minFresh * 1000 && token.uses < MAX_USES

    private fun isUsable(held: Loaded?): Boolean = synchronized(lock) {
        held != null && held.token === token && !mustRenew && held.token.remainingMs() > MIN_LIFE_MS
    }

    private fun join(
        generation: Int,
        action: String,
        minFresh: Long,
        isShort: Boolean,
    ): FutureTask<Loaded> = synchronized(lock) {
        checkUser(generation)
        val running = flights[action]
        if (running != null && running.minFresh >= minFresh && running.isShort == isShort) return running.task
        val directives = if (minFresh > 0) mapOf("Cache-Control" to "min-fresh=$minFresh") else emptyMap()
        val call = Call("GET", payloadPath(action), directives, isShort)
        lateinit var task: FutureTask<Loaded>
        task = FutureTask(Callable {
            try {
                request(generation, action, call)
            } finally {
                synchronized(lock) { if (flights[action]?.task === task) flights.remove(action) }
            }
        })
        flights[action] = Flight(minFresh, isShort, task)
        threads.execute(task)
        task
    }

    /**
     * A request can return the token that the SDK rejected: if it started before the renewal, or if another replica
     * of the service still has that token.
     */
    private fun newest(loaded: Loaded): Loaded {
        synchronized(lock) {
            if (loaded.token.clientAuthToken != ended) return loaded
            val token = token
            if (!mustRenew && token != null && token.order > loaded.token.order) return Loaded(loaded.answer, token)
        }
        return Loaded(loaded.answer, renew().token)
    }

    private fun counted(loaded: Loaded): Loaded = synchronized(lock) { loaded.also { it.token.uses += 1 } }

    /** The SDK rejected the newest token: until there is another, no call returns one. */
    private fun endLatest() = synchronized(lock) {
        if (!mustRenew) {
            mustRenew = true
            ended = latest
        }
    }

    /** Gets a new token. */
    private fun renew(): Loaded {
        val task = synchronized(lock) {
            renewal ?: startRenewal().also { renewal = it }
        }
        return await(task, options.timeoutMs)
    }

    private fun startRenewal(): FutureTask<Loaded> {
        val generation = generation
        lateinit var task: FutureTask<Loaded>
        task = FutureTask(Callable {
            try {
                requestNew(generation)
            } finally {
                synchronized(lock) { if (renewal === task) renewal = null }
            }
        })
        threads.execute(task)
        return task
    }

    private fun requestNew(generation: Int): Loaded = when (options.profile) {
        Profile.UPI -> request(generation, UPDATE_AUTH, Call("GET", payloadPath(UPDATE_AUTH)), isRenewal = true)
        Profile.EC -> {
            val call = Call("GET", "${payloadPath(PROCESS)}&new_token=true")
            request(generation, PROCESS, call, isRenewal = true)
        }
    }

    /** The result of a task. A task that does not end, such as in `accessToken`, is left alone. */
    private fun <T> await(task: FutureTask<T>, limitMs: Long): T {
        try {
            return task.get(limitMs, TimeUnit.MILLISECONDS)
        } catch (failed: ExecutionException) {
            throw asTokenError(failed.cause)
        } catch (late: TimeoutException) {
            synchronized(lock) {
                flights.values.removeAll { it.task === task }
                if (renewal === task) renewal = null
                if (accessTokenRenewal === task) accessTokenRenewal = null
            }
            throw TokenError("timeout", 0, true, cause = late)
        }
    }

    private fun payloadPath(action: String): String =
        "/me/sdk-payload?action=$action" + (options.platform?.let { "&platform=$it" } ?: "")

    private fun request(generation: Int, action: String, call: Call, isRenewal: Boolean = false): Loaded {
        val (wakes, order) = synchronized(lock) { Pair(wakes, ++requests) }
        val (answer, sentAt) = call(call, if (call.isShort) 1 else MAX_ATTEMPTS, generation, ::answer)
        // Its life counts from the sending of the request, so it is never too long.
        val token = Token(
            answer.payload.getString(CLIENT_AUTH_TOKEN),
            answer.routingId,
            answer.tenantId,
            expiresAt = sentAt + answer.expiresIn * 1000,
            refreshAt = sentAt + answer.refreshAfter * 1000,
            order,
            clock,
        )
        synchronized(lock) {
            checkUser(generation)
            if ((this.token?.order ?: 0) < order && token.clientAuthToken != ended) {
                latest = token.clientAuthToken
                // The phone may have slept meanwhile.
                this.token = token.takeIf { wakes == this.wakes }
            }
            if (wakes == this.wakes) answers[action] = answer
            if (isRenewal) mustRenew = false
        }
        return Loaded(answer, token)
    }

    private fun envelope(loaded: Loaded, own: JSONObject): JSONObject {
        val (answer, token) = loaded
        val payload = JSONObject()
        for (key in answer.payload.keys()) payload.put(key, answer.payload.get(key))
        for (key in own.keys()) payload.put(key, own.get(key))
        payload.put(CLIENT_AUTH_TOKEN, token.clientAuthToken)
        if (answer.payload.has("customerId")) payload.put("customerId", answer.payload.get("customerId"))
        if (answer.payload.has("authExpiry")) payload.put("authExpiry", token.authExpiry())
        val envelope = JSONObject().put("requestId", uuid()).put("service", answer.service).put("payload", payload)
        return if (answer.betaAssets) envelope.put("betaAssets", true) else envelope
    }

    /** Sends a request until it succeeds, must not be repeated, or time is up. */
    private fun <T> call(
        call: Call,
        attempts: Int,
        generation: Int = synchronized(lock) { this.generation },
        read: (HttpReply) -> T,
    ): Pair<T, Long> {
        val deadline = clock.monotonic() + if (call.isShort) shortCallMs else options.timeoutMs
        val access = AccessState(generation)
        var attempt = 1
        while (true) {
            val error = try {
                return exchange(call, access, deadline, read)
            } catch (error: TokenError) {
                error
            }
            val isRejected = isAccessTokenRejected(error)
            if (isRejected && !access.renew && isCurrent(generation)) {
                access.renew = true
                continue
            }
            if (isRejected) logOut(generation)
            val wait = waitMs(error, attempt)
            val mayRepeat = error.retryable && error.code != ACCESS_TOKEN && attempt < attempts
            if (!mayRepeat || clock.monotonic() + wait >= deadline) throw error
            clock.sleep(wait)
            checkUser(generation)
            attempt += 1
        }
    }

    private fun logOut(generation: Int) {
        val isFirst = synchronized(lock) { (generation == this.generation).also { if (it) invalidate() } }
        if (isFirst) tell { options.onLogout() }
    }

    /** Sends a request once. */
    private fun <T> exchange(call: Call, access: AccessState, deadline: Long, read: (HttpReply) -> T): Pair<T, Long> {
        checkUser(access.generation)
        val renew = access.renew && !access.isRenewed
        val accessToken = accessToken(renew)
        checkUser(access.generation)
        if (renew) access.isRenewed = true
        val headers = mapOf("Authorization" to "Bearer $accessToken", "Accept" to "application/json")
        val sentAt = clock.monotonic()
        val url = options.baseUrl.trimEnd('/') + call.path
        val limitMs = min(max(deadline - sentAt, 1), MAX_ATTEMPT_MS)
        val request = HttpRequest(call.method, url, headers + call.directives, limitMs)
        val reply = try {
            options.transport.send(request)
        } catch (late: SocketTimeoutException) {
            throw TokenError("timeout", 0, true, cause = late)
        } catch (failed: IOException) {
            throw TokenError("network", 0, true, cause = failed)
        }
        failure(reply)?.let { throw it }
        try {
            return Pair(read(reply), sentAt)
        } catch (_: JSONException) {
            // Such as the page of a public wireless network. No cause: its message has the whole text.
            throw TokenError("unexpected_response", reply.status, true)
        }
    }

    /** The access token. Calls at the same time share one renewal. */
    private fun accessToken(renew: Boolean): String = try {
        if (renew) await(renewAccessToken(), options.timeoutMs) else options.accessToken(false)
    } catch (error: TokenError) {
        throw TokenError(ACCESS_TOKEN, 0, true, cause = error.cause ?: error)
    } catch (@Suppress("TooGenericExceptionCaught") failed: Exception) {
        throw TokenError(ACCESS_TOKEN, 0, true, cause = failed)
    }

    private fun renewAccessToken(): FutureTask<String> = synchronized(lock) {
        accessTokenRenewal?.let { return it }
        lateinit var task: FutureTask<String>
        task = FutureTask(Callable {
            try {
                options.accessToken(true)
            } finally {
                synchronized(lock) { if (accessTokenRenewal === task) accessTokenRenewal = null }
            }
        })
        accessTokenRenewal = task
        threads.execute(task)
        task
    }
}

/** The body of GET /me/sdk-payload. */
private class Answer(private val json: JSONObject, val payload: JSONObject) {
    val service: String = json.getString("service")
    val betaAssets = json.optBoolean("betaAssets")
    val tenantId: String? = if (json.has("tenant_id")) json.getString("tenant_id") else null
    val expiresIn = json.getLong("expires_in")
    val refreshAfter = json.getLong("refresh_after")
    val routingId: String = json.optString("routing_id")

    fun without(members: Set<String>): Answer {
        val rest = JSONObject()
        for (key in payload.keys()) if (key !in members) rest.put(key, payload.get(key))
        return Answer(json, rest)
    }
}

private fun answer(reply: HttpReply): Answer {
    val json = JSONObject(reply.text)
    return Answer(json, json.getJSONObject("payload").also { it.getString(CLIENT_AUTH_TOKEN) })
}

private data class Loaded(val answer: Answer, val token: Token)

private class Flight(val minFresh: Long, val isShort: Boolean, val task: FutureTask<Loaded>)

/** [isShort]: there is a usable token, so one short attempt is enough. */
private class Call(
    val method: String,
    val path: String,
    val directives: Map<String, String> = emptyMap(),
    val isShort: Boolean = false,
)

/** The access token within one call. [renew]: the service rejected it. [isRenewed]: there was another since. */
private class AccessState(val generation: Int) {
    var renew = false
    var isRenewed = false
}

private const val INITIATE = "initiate"
private const val PROCESS = "process"
private const val UPDATE_AUTH = "updateAuth"
private const val CLIENT_AUTH_TOKEN = "clientAuthToken"
private const val ACCESS_TOKEN = "access_token"

/** Any answer in memory has the token. */
private const val ANY = "any"

/** What `initiate` takes and `process` does not. */
private val INITIATE_MEMBERS = setOf("action", "merchantId", "clientId", "environment")

/** `session_expired` is documented; one app sees `session_expiry`. */
private val EXPIRY_EVENTS = setOf("session_expired", "session_expiry")

/** Their token is that of Create Order. */
private val ORDER_ACTIONS = setOf("cardTxn", "nbTxn", "walletTxn", "upiTxn")
private const val MAX_ATTEMPTS = 4

/** The service's own limit is 5 s. */
private const val MAX_ATTEMPT_MS = 6_000L

/** Time limit of a call while there is a usable token. */
private const val SHORT_CALL_MS = 2_000L

/** Rounds of `timeoutMs` in which `attach` tries to answer an event. */
private const val MAX_ROUNDS = 3

/** The payment screen does not wait longer for the next round. */
private const val MAX_ROUND_WAIT_MS = 60_000L

/** A proxy's 4xx that may be gone at the next attempt: Request Timeout, Too Early, Too Many Requests. */
private val GATEWAYS_RETRYABLE = setOf(408, 425, 429)

/** A token with less life left is not used, also if there is no other. */
private const val MIN_LIFE_MS = 10_000L

/** Juspay limits the uses of a token. The service replaces it in time, if it sees about a third of the uses. */
private const val MAX_USES = 3

/** A larger answer is not from the service. */
private const val MAX_BYTES = 256 * 1024

private val threads = Executors.newCachedThreadPool { task ->
    Thread(task, "juspay-bff").apply { isDaemon = true }
}

/** The only two codes about the user's session. A 401 of a proxy in front has no code. */
private fun isAccessTokenRejected(error: TokenError) =
    error.status == 401 && (error.code == "invalid_token" || error.code == "expired_token")

/** The service rejects this user, or the user is gone: no token in memory may be used instead. */
private fun isAboutUser(error: TokenError) =
    error.code == "signed_out" || (error.status in setOf(401, 403) && error.code != "unexpected_response")

private fun asTokenError(error: Throwable?) =
    error as? TokenError ?: TokenError("internal", 0, false, cause = error)

/** Calls a function of the app. Its failure is the app's own, and must not end the app in this thread. */
private fun tell(callback: () -> Unit) {
    try {
        callback()
    } catch (@Suppress("TooGenericExceptionCaught") _: Exception) {
        // See above.
    }
}

/** `null` for a success. */
private fun failure(reply: HttpReply): TokenError? {
    if (reply.status == 200 || reply.status == 202) return null
    try {
        val problem = JSONObject(reply.text)
        val retryAfter = seconds(problem.optDouble("retry_after"))
        val requestId = if (problem.isNull("request_id")) null else problem.getString("request_id")
        return TokenError(
            problem.getString("code"), reply.status, problem.getBoolean("retryable"), retryAfter, requestId,
        )
    } catch (_: JSONException) {
        val retryable = reply.status !in 400..499 || reply.status in GATEWAYS_RETRYABLE
        return TokenError("unexpected_response", reply.status, retryable, seconds(reply.retryAfter?.toDoubleOrNull()))
    }
}

private fun seconds(wait: Double?) = wait?.takeIf { it >= 0 && it < Double.POSITIVE_INFINITY }

/** What the service says, else 0.5 s, 1 s, 2 s, 4 s, up to half of it less. */
private fun waitMs(error: TokenError, attempt: Int): Long {
    val backoff = min(500.0 * (1 shl (attempt - 1)), 4000.0) * (1 - Math.random() / 2)
    return ceil(error.retryAfter?.times(1000) ?: backoff).toLong()
}

private fun uuid() = UUID.randomUUID().toString()

/** The phone's clocks. */
object PhoneClock : Clock {
    /** Android's clock that counts the time in which the phone sleeps. `System.nanoTime` does not. */
    private val elapsedRealtime = try {
        Class.forName("android.os.SystemClock").getMethod("elapsedRealtime")
    } catch (_: ReflectiveOperationException) {
        null
    }

    override fun monotonic() = elapsedRealtime?.invoke(null) as Long? ?: (System.nanoTime() / 1_000_000)

    override fun wall() = System.currentTimeMillis()

    override fun sleep(ms: Long) = Thread.sleep(ms)
}

/**
 * Android's and Java's own HTTP client. `useCaches` stays true: without it, Java sends `Cache-Control: no-cache`,
 * which demands a new token.
 */
object UrlConnectionTransport : Transport {
    override fun send(request: HttpRequest): HttpReply {
        val connection = URL(request.url).openConnection() as HttpURLConnection
        connection.requestMethod = request.method
        connection.instanceFollowRedirects = false
        connection.connectTimeout = min(request.timeoutMs, Int.MAX_VALUE.toLong()).toInt()
        connection.readTimeout = connection.connectTimeout
        for ((name, value) in request.headers) connection.setRequestProperty(name, value)
        try {
            if (request.method == "POST") {
                connection.doOutput = true
                connection.outputStream.close()
            }
            val status = connection.responseCode
            val stream = if (status >= 400) connection.errorStream else connection.inputStream
            return HttpReply(status, connection.getHeaderField("Retry-After"), text(stream))
        } catch (failed: IOException) {
            connection.disconnect()
            throw failed
        }
    }

    private fun text(stream: InputStream?): String {
        val bytes = ByteArrayOutputStream()
        val part = ByteArray(8192)
        while (stream != null) {
            val length = stream.read(part)
            if (length < 0) break
            bytes.write(part, 0, length)
            if (bytes.size() > MAX_BYTES) throw IOException("the answer is too large")
        }
        return bytes.toString("UTF-8")
    }
}
