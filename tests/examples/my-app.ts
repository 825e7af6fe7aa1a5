/** What the examples take from the app. */
export declare const identity: { accessToken(): Promise<string>; renewedAccessToken(): Promise<string> };
export declare function showLogin(): void;
export declare function showTryAgain(requestId: string | undefined): void;
/** The web SDK, as in `hyper-sdk-types`. */
export declare const hyperServices: {
  initiate(payload: unknown, callback: (event: Record<string, unknown>) => void): void;
  process(payload: unknown): void;
};
