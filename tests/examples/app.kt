/* What the examples take from the app. */
interface Identity {
    fun accessToken(): String

    fun renewedAccessToken(): String
}

@Suppress("UNUSED_PARAMETER")
fun showTryAgain(requestId: String?) = Unit
